//! How many permits a call asks for, and how many it is granted.

use crate::rate_limit::decision::decision::Decision;

/// How many permits are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// So many at least, or it is a denial.
    pub(crate) least: u64,
    /// As many as there are, up to this.
    pub(crate) most: u64,
    /// Only to see whether they would be granted.
    pub(crate) look: bool,
}

/// What was granted.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) decision: Decision,
    pub(crate) permits: u64,
}

impl Ask {
    /// For exactly so many. No limit is larger than the greatest cost that is sent.
    pub(crate) fn exactly(cost: u64) -> Self {
        let least = cost.min(u64::from(u32::MAX) + 1);
        let most = least;
        let look = false;
        Self { least, most, look }
    }
}
