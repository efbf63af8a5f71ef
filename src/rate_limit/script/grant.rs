//! How many permits a call asks for, and how many it is granted.

use crate::rate_limit::decision::decision::Decision;

/// How many permits are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// The fewest to grant; if fewer are left, the request is denied.
    pub(crate) least: u64,
    /// The most to grant; as many as are left, up to this.
    pub(crate) most: u64,
    /// Whether nothing is used: only to see what would be granted.
    pub(crate) look: bool,
}

/// The reply of one call.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) decision: Decision,
    /// The permits that were granted.
    pub(crate) permits: u64,
}

impl Ask {
    /// Asks for exactly `cost` permits. A cost above every possible limit (`u32::MAX`) is sent as `u32::MAX + 1`.
    pub(crate) fn exactly(cost: u64) -> Self {
        let least = cost.min(u64::from(u32::MAX) + 1);
        let most = least;
        let look = false;
        Self { least, most, look }
    }
}
