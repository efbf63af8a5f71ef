//! The two tiers of entries: near, in the memory of this process, and remote, in Redis.
//!
//! In: a slot. Out: the entry in it, if it may be used, and what was seen there. `leader` and the root of the store may
//! import it.

pub(crate) mod coherence;
pub(crate) mod inner;
pub(crate) mod lease;
pub(crate) mod lookup;
pub(crate) mod near;
pub(crate) mod postponed;
pub(crate) mod remote;
pub(crate) mod replay;
pub(crate) mod settings;
pub(crate) mod shared_reads;
