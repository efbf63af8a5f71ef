//! Which server gets a command: the only one, the primary that the sentinels name, or the owner of a cluster slot.
//!
//! In: a key and a command. Out: the server's answer, or why there is none.
//! `client` and the root of the slice import it.

pub(crate) mod cluster;
pub(crate) mod demotion;
pub(crate) mod deployment;
pub(crate) mod node;
pub(crate) mod relocation;
pub(crate) mod role;
pub(crate) mod sentinel;
pub(crate) mod slots;
