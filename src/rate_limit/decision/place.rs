//! A place under a concurrency policy.

use std::fmt::Debug;

/// Holds a place, and gives it back when it is dropped.
pub(crate) trait Place: Debug + Send + Sync {}
