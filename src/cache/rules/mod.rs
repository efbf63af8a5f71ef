//! The decisions of this cache: the key of a request, and which answers are stored for how long. Pure.
//!
//! In: requests, responses and settings. Out: keys and verdicts. `flow`, `fill`, `state` and the root import this room.

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
