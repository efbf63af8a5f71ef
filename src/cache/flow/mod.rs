//! A request's way: what is to be done with it, whether a stored response answers it, and else the handler.
//!
//! A request comes in; a response and its `Cache-Status` go out. Imported by the service only.

pub(crate) mod answer;
pub(crate) mod ask;
pub(crate) mod exchange;
pub(crate) mod intent;
pub(crate) mod outcome;
pub(crate) mod pass;
pub(crate) mod peek;
pub(crate) mod read;
pub(crate) mod stale_if_error;
pub(crate) mod unconditional;
