//! The task that reads the purge log: when it is asked to, and while the log is in use as often as the bound on what is known
//! asks for, every 20 ms by default.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, time::timeout};

use super::{
    clock::{clock, micros},
    listener::listen,
    log::{Log, Look, MOST_READS, Signals},
};
use crate::error::Error;

impl Log {
    /// Learns of all purges that were over before this was called.
    pub(crate) async fn catch_up(self: &Arc<Self>) -> Result<(), Error> {
        self.start();
        self.next_look().await
    }

    /// Starts the task that reads the log and the one that waits for purges, unless they run.
    fn start(self: &Arc<Self>) {
        if self.is_polled.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            if !self.is_polled.swap(true, Ordering::AcqRel) {
                let poller = Poller {
                    log: Arc::downgrade(self),
                    signals: Arc::clone(&self.signals),
                    period: period(self.redis.coherence(), self.redis.deadline()),
                };
                runtime.spawn(poll(poller));
                runtime.spawn(listen(Arc::downgrade(self), self.in_use.subscribe()));
            }
        }
    }
}

/// The right to poll a log, given back when the runtime of the task ends.
struct Poller {
    log: Weak<Log>,
    signals: Arc<Signals>,
    /// The time between two reads.
    period: Duration,
}

impl Drop for Poller {
    fn drop(&mut self) {
        if let Some(log) = self.log.upgrade() {
            log.is_polled.store(false, Ordering::Release);
        }
    }
}

async fn poll(poller: Poller) {
    let (mut pause, mut used_at) = (RETRY.min(poller.period), clock());
    loop {
        let is_wanted = timeout(pause, poller.signals.wanted.notified())
            .await
            .is_ok();
        let Some(log) = poller.log.upgrade() else {
            return;
        };
        let now = clock();
        if log.used.swap(false, Ordering::Relaxed) {
            used_at = now;
        }
        let is_used = now.saturating_sub(used_at) < micros(IDLE.max(poller.period * 2));
        log.in_use
            .send_if_modified(|was_used| std::mem::replace(was_used, is_used) != is_used);
        // Every read counts, also one for a caller or for a record that the listener reported.
        let left = (log.looked_at() + micros(poller.period)).saturating_sub(now);
        let is_idle = log.reads.available_permits() == MOST_READS;
        pause = match is_used {
            true => Duration::from_micros(left).max(RETRY).min(poller.period),
            false => SLUMBER,
        };
        if is_wanted || (is_used && is_idle && left == 0) {
            let Ok(permit) = Arc::clone(&log.reads).acquire_owned().await else {
                return;
            };
            let look = tokio::spawn(look(log, Arc::clone(&poller.signals), permit));
            // A caller that comes during this read needs one that begins later. It does not wait for the end of this one
            // when that takes long.
            let _ = timeout(GAP, look).await;
            // It may have failed.
            pause = RETRY.min(poller.period);
        }
    }
}

/// The time between two reads, such that what is known is not older than `bound` when the answer to the second one takes
/// up to `deadline`. If the bound is not long enough for that, what most answers take is left.
fn period(bound: Duration, deadline: Duration) -> Duration {
    let left = bound.saturating_sub(deadline + SPARE);
    left.max(bound * 2 / 5)
}

async fn look(log: Arc<Log>, signals: Arc<Signals>, permit: OwnedSemaphorePermit) {
    let (began_at, looked) = log.look().await;
    drop((log, permit));
    let failed = looked.err().map(|error| error.kind());
    signals.last.send_if_modified(|last| {
        // Reads may overtake each other.
        let is_newer = began_at > last.began_at;
        if is_newer {
            *last = Look { began_at, failed };
        }
        is_newer
    });
}

/// The time between the beginnings of two reads, unless the first is over sooner.
const GAP: Duration = Duration::from_millis(5);
/// How soon the task looks whether a read has failed.
const RETRY: Duration = Duration::from_millis(20);
/// The time between the end of a read that fails and the bound: for a second one.
const SPARE: Duration = Duration::from_millis(150);
/// After how long without use the log counts as not in use, at least.
const IDLE: Duration = Duration::from_secs(2);
/// How often the task checks then whether the log was dropped.
const SLUMBER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_as_often_as_the_bound_asks_for() {
        let deadline = Duration::from_millis(250);
        for (bound_ms, period_ms) in [
            (10, 4),
            (50, 20),
            (500, 200),
            (1000, 600),
            (2000, 1600),
            (60_000, 59_600),
        ] {
            let bound = Duration::from_millis(bound_ms);
            let period = period(bound, deadline);
            assert_eq!(period, Duration::from_millis(period_ms), "{bound_ms}");
        }
        let hour = Duration::from_secs(3600);
        assert_eq!(period(Duration::from_secs(1), hour).as_millis(), 400);
    }
}
