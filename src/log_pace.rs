//! At most one log line a second of a kind, for events that clients or an outage can cause at any rate.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Decides whether a line is logged. Each kind of line has a value of its own.
///
/// The state is two atomic numbers. When two threads ask at the same time, an omitted line may be counted in the next
/// second, which does no harm.
#[derive(Debug)]
pub(crate) struct LogPace {
    /// When the last line was logged, in milliseconds of [`uptime`], plus one; 0 before the first line.
    last_ms: AtomicU64,
    omitted: AtomicU64,
}

impl LogPace {
    pub(crate) const fn new() -> Self {
        Self {
            last_ms: AtomicU64::new(0),
            omitted: AtomicU64::new(0),
        }
    }

    /// `Some` if the line should be logged now: the number of lines that were omitted since the last one.
    pub(crate) fn admit(&self, elapsed: Duration) -> Option<u64> {
        let now_ms = u64::try_from(elapsed.as_millis()).map_or(u64::MAX, |ms| ms.saturating_add(1));
        let last_ms = self.last_ms.load(Ordering::Relaxed);
        let is_due = last_ms == 0 || now_ms.saturating_sub(last_ms) >= PAUSE_MS;
        let is_first = || {
            self.last_ms
                .compare_exchange(last_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        if is_due && is_first() {
            return Some(self.omitted.swap(0, Ordering::Relaxed));
        }
        self.omitted.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Default for LogPace {
    fn default() -> Self {
        Self::new()
    }
}

/// A monotonic time: since this process first called this function.
pub(crate) fn uptime() -> Duration {
    static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    BEGIN.elapsed()
}

const PAUSE_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_with_the_number_of_omitted_lines() {
        let pace = LogPace::new();
        let at = |ms| pace.admit(Duration::from_millis(ms));
        assert_eq!(at(0), Some(0));
        assert_eq!((at(1), at(500), at(999)), (None, None, None));
        assert_eq!(at(1000), Some(3));
        assert_eq!(at(1999), None);
        assert_eq!(at(10_000), Some(1));
    }

    #[test]
    fn a_clock_that_goes_back_omits_lines_and_does_not_panic() {
        let pace = LogPace::new();
        assert_eq!(pace.admit(Duration::from_secs(10)), Some(0));
        assert_eq!(pace.admit(Duration::ZERO), None);
        assert_eq!(pace.admit(Duration::MAX), Some(1));
    }
}
