//! What this cache decides: the key of a request, and what may be stored for how long. Pure.
//!
//! Requests, responses and settings come in; keys and verdicts go out. Imported by all rooms above.

pub(crate) mod body_limits;
pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod implicit_vary;
pub(crate) mod key;
#[cfg(feature = "axum")]
pub(crate) mod response_parts;
#[cfg(feature = "axum")]
pub(crate) mod rewritten_uri;
pub(crate) mod site;
pub(crate) mod storing;
pub(crate) mod vary_by;
