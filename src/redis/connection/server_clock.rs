//! The clock of a server, estimated from its replies.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use crate::log_pace::uptime;

/// The difference between a server's clock and the clock of this process.
#[derive(Debug)]
pub(crate) struct ServerClock {
    /// By how many milliseconds the server's clock is ahead; [`UNKNOWN`] before the first reply.
    ahead: AtomicI64,
}

impl ServerClock {
    pub(crate) fn new() -> Self {
        Self {
            ahead: AtomicI64::new(UNKNOWN),
        }
    }

    /// Sets the clock to what the server's showed (Unix milliseconds) when it ran a script that was answered just now.
    pub(crate) fn learn(&self, server_ms: i64) {
        self.ahead
            .store(server_ms.saturating_sub(local_ms()), Ordering::Relaxed);
    }

    /// The time on the server's clock after which a script that is sent now must not run; 0 while the clock is not known.
    ///
    /// It is two deadlines ahead: the reply that the clock was set by may have been under way for one deadline.
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

/// Milliseconds on the monotonic clock of this process.
fn local_ms() -> i64 {
    i64::try_from(uptime().as_millis()).unwrap_or(i64::MAX)
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
