//! The loads of this process, by key: which are under way, which failed or had nothing to store, and how long they take.
//!
//! In: the digest of a key. Out: whether to load, to wait, or neither. It does not ask Redis. `tiers`,
//! `leader` and the root of the store may import it.

pub(crate) mod background;
pub(crate) mod cost;
pub(crate) mod failures;
pub(crate) mod flights;
pub(crate) mod heartbeat;
pub(crate) mod refusals;
pub(crate) mod renewals;
pub(crate) mod state;
