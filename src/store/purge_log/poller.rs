//! The task that reads the purge log, when it is asked to and at least every 20 ms while the log is in use.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, time::timeout};

use super::{
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
}

impl Drop for Poller {
    fn drop(&mut self) {
        if let Some(log) = self.log.upgrade() {
            log.is_polled.store(false, Ordering::Release);
        }
    }
}

async fn poll(poller: Poller) {
    let mut idle = 0;
    loop {
        let period = if idle < IDLE_PERIODS { PERIOD } else { SLUMBER };
        let is_wanted = timeout(period, poller.signals.wanted.notified())
            .await
            .is_ok();
        let Some(log) = poller.log.upgrade() else {
            return;
        };
        idle = if log.used.swap(false, Ordering::Relaxed) {
            0
        } else {
            idle.saturating_add(1)
        };
        let is_used = idle < IDLE_PERIODS;
        log.in_use
            .send_if_modified(|was_used| std::mem::replace(was_used, is_used) != is_used);
        let is_idle = log.reads.available_permits() == MOST_READS;
        if is_wanted || (is_used && is_idle) {
            let Ok(permit) = Arc::clone(&log.reads).acquire_owned().await else {
                return;
            };
            let look = tokio::spawn(look(log, Arc::clone(&poller.signals), permit));
            // A caller that comes during this read needs one that begins later. It does not wait for the end of this one
            // when that takes long.
            let _ = timeout(GAP, look).await;
        }
    }
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
/// How often the log is read, whatever the listener reports: its connection may be dead without notice.
const PERIOD: Duration = Duration::from_millis(20);
/// After how many periods without use the log counts as not in use.
const IDLE_PERIODS: u32 = 100;
/// How often the task checks then whether the log was dropped.
const SLUMBER: Duration = Duration::from_secs(1);
