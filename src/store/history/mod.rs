//! What the purge log says, as a map in memory. Pure: no tokio, no fred, no clock.
//!
//! In: the records of the log, in their order. Out: whether an entry that was made at a place in the log still holds.
//! Everything above may import it; it imports `entry` only.

pub(crate) mod invalidations;
pub(crate) mod map;
pub(crate) mod record;
pub(crate) mod tag_map;
pub(crate) mod tokens;
