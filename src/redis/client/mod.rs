//! The [`Redis`](crate::Redis) handle and the commands that the slices run with it.
//!
//! In: a key and the words of a command. Out: the server's answer, or an [`Error`](crate::Error).
//! The root of the slice imports it and re-exports what the other slices use.

#[cfg(any(feature = "cache", feature = "rate-limit", feature = "session"))]
pub(crate) mod budget;
pub(crate) mod commands;
pub(crate) mod handle;
#[cfg(feature = "rate-limit")]
pub(crate) mod joint_runs;
#[cfg(feature = "session")]
pub(crate) mod loads;
pub(crate) mod reads;
pub(crate) mod runs;
pub(crate) mod shared_values;
pub(crate) mod stream;
#[cfg(feature = "session")]
pub(crate) mod subscription;
#[cfg(feature = "cache")]
pub(crate) mod tail;
