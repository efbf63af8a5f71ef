//! What the requests of one layer share, and what is known of a stored response.
//!
//! A key comes in; a stored response or the reason why there is none goes out. Imported by fill and flow.

pub(crate) mod failures;
pub(crate) mod fill_tasks;
pub(crate) mod lookup;
pub(crate) mod memory;
pub(crate) mod shared;
