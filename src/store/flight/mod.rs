//! What this process knows of the making of entries, by key: who makes which now, and whose making has just failed.
//!
//! In: the digest of a key. Out: whether to make its entry, to wait for it, or to leave it. It does not ask Redis. `tiers`,
//! `leader` and the root of the store may import it.

pub(crate) mod background;
pub(crate) mod cost;
pub(crate) mod failures;
pub(crate) mod flights;
pub(crate) mod heartbeat;
pub(crate) mod refusals;
pub(crate) mod renewals;
pub(crate) mod state;
