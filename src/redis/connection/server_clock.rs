//! A server's clock, as far as it is known here.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

/// How far a server's clock is ahead of this process's, learnt from its replies.
#[derive(Debug)]
pub(crate) struct ServerClock {
    /// In milliseconds; [`UNKNOWN`] before the first reply.
    ahead: AtomicI64,
}

impl ServerClock {
    pub(crate) fn new() -> Self {
        Self {
            ahead: AtomicI64::new(UNKNOWN),
        }
    }

    /// Takes note of what the server's clock showed (Unix milliseconds) when it ran what was just answered.
    pub(crate) fn learn(&self, server_ms: i64) {
        self.ahead
            .store(server_ms.saturating_sub(local_ms()), Ordering::Relaxed);
    }

    /// The time on the server's clock after which a command that is sent now must not run; 0 as long as nothing is known.
    ///
    /// The answer that the clock was learnt from may have been on its way for up to a deadline, so it is twice that.
    pub(crate) fn limit(&self, deadline: Duration) -> i64 {
        match self.ahead.load(Ordering::Relaxed) {
            UNKNOWN => 0,
            ahead => {
                let patience = i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX / 4);
                local_ms()
                    .saturating_add(ahead)
                    .saturating_add(patience.saturating_mul(2))
            }
        }
    }
}

/// Milliseconds on a clock of this process that is never set.
fn local_ms() -> i64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    i64::try_from(START.elapsed().as_millis()).unwrap_or(i64::MAX)
}

const UNKNOWN: i64 = i64::MIN;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_limited_by_a_clock_that_is_not_known() {
        let clock = ServerClock::new();
        assert_eq!(clock.limit(Duration::from_secs(1)), 0);
        clock.learn(1_700_000_000_000);
        let limit = clock.limit(Duration::from_secs(1));
        assert!(
            (1_700_000_002_000..1_700_000_062_000).contains(&limit),
            "{limit}"
        );
        clock.learn(i64::MAX);
        assert_eq!(clock.limit(Duration::MAX), i64::MAX);
    }
}
