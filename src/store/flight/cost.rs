//! How long it takes to make an entry.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A moving average of how long it took to make an entry: milliseconds plus one, 0 before the first.
#[derive(Debug, Default)]
pub(crate) struct Cost(AtomicU64);

impl Cost {
    /// Adds how long it took to make an entry.
    pub(crate) fn note(&self, cost_ms: u64) {
        let new = cost_ms.saturating_add(1);
        let cost = match self.0.load(Ordering::Relaxed) {
            0 => new,
            old => old.saturating_mul(3).saturating_add(new).div_ceil(4),
        };
        self.0.store(cost, Ordering::Relaxed);
    }

    /// Whether it takes longer than `limit`, or no entry was made yet.
    pub(crate) fn is_unknown_or_above(&self, limit: Duration) -> bool {
        match self.0.load(Ordering::Relaxed) {
            0 => true,
            cost => u128::from(cost) > limit.as_millis(),
        }
    }
}
