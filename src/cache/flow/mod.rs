//! The steps that answer a request: decide what to do with it, look for a stored response, or ask the handler.
//!
//! In: a request. Out: a response and its [`CacheStatus`](crate::cache::CacheStatus). Only the service imports this room.

pub(crate) mod answer;
pub(crate) mod ask;
pub(crate) mod exchange;
pub(crate) mod intent;
pub(crate) mod near_hit;
pub(crate) mod outcome;
pub(crate) mod pass;
pub(crate) mod read;
pub(crate) mod stale_if_error;
pub(crate) mod unconditional;
