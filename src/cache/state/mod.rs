//! The state that all requests of one layer share, and the lookup of stored responses.
//!
//! In: a key. Out: a stored response, or the reason why there is none. `flow`, `fill` and the root import this room.

pub(crate) mod failures;
pub(crate) mod fill_tasks;
pub(crate) mod lookup;
pub(crate) mod memory;
pub(crate) mod shared;
