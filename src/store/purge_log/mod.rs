//! The purge log in Redis, and the copy of it that this process keeps up to date.
//!
//! In: purges to be added. Out: whether an entry still holds. Everything above may import it; it imports `history` and
//! `entry` only.

pub(crate) mod clock;
pub(crate) mod listener;
pub(crate) mod log;
pub(crate) mod poller;
pub(crate) mod random;
pub(crate) mod reader;
pub(crate) mod writer;
