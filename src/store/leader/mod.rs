//! Who makes an entry that is missing or stale: one caller of all processes leads, and the others wait for it.
//!
//! In: a slot and what was seen there. Out: an entry that may be used, or a [`Lead`](lead::Lead), the right to make one.
//! Only the root of the store may import it.

pub(crate) mod claim;
pub(crate) mod election;
pub(crate) mod keepalive;
pub(crate) mod lead;
pub(crate) mod progress;
pub(crate) mod refresh;
pub(crate) mod release;
pub(crate) mod retry;
pub(crate) mod turn;
