//! Who makes an entry that is missing or stale: one caller of all processes leads, and the others follow.
//!
//! In: a slot and what was seen there. Out: an entry that may be used, or a [`Lead`](lead::Lead), which is the right to make
//! one. Only the root of the store may import it.

pub(crate) mod begin;
pub(crate) mod lead;
pub(crate) mod lease;
pub(crate) mod refresh;
