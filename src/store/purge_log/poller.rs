//! The tasks that look at the purge log.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::{runtime::Handle, time::timeout};

use super::{
    clock::clock,
    listener::listen,
    log::{Log, Look, Signals},
};
use crate::error::Error;

impl Log {
    /// Learns of all purges that were over before this was called.
    pub(crate) async fn catch_up(self: &Arc<Self>) -> Result<(), Error> {
        self.follow();
        self.next_look().await
    }

    /// Has a task look at the log whenever that is wanted, and regularly for as long as it is used.
    fn follow(self: &Arc<Self>) {
        if self.followed.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            if !self.followed.swap(true, Ordering::AcqRel) {
                let follower = Follower {
                    log: Arc::downgrade(self),
                    signals: Arc::clone(&self.signals),
                };
                runtime.spawn(follow(follower));
                runtime.spawn(listen(Arc::downgrade(self), self.in_use.subscribe()));
            }
        }
    }
}

/// The right to follow a log, given back when its runtime ends.
struct Follower {
    log: Weak<Log>,
    signals: Arc<Signals>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(log) = self.log.upgrade() {
            log.followed.store(false, Ordering::Release);
        }
    }
}

async fn follow(follower: Follower) {
    let mut idle = 0;
    loop {
        let period = if idle < IDLE_PERIODS { PERIOD } else { SLUMBER };
        let is_wanted = timeout(period, follower.signals.wanted.notified())
            .await
            .is_ok();
        let Some(log) = follower.log.upgrade() else {
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
        if is_wanted || is_used {
            let turn = log.turn.lock().await;
            let began_at = clock();
            let failed = log.look().await.err().map(|error| error.kind());
            drop(turn);
            follower
                .signals
                .last
                .send_replace(Look { began_at, failed });
        }
    }
}

/// How often the log is looked at, whatever is heard of it: a connection that nothing is heard on may be dead.
const PERIOD: Duration = Duration::from_millis(20);
/// For how many periods without use the log is still followed.
const IDLE_PERIODS: u32 = 100;
/// How often it is seen then whether the log is still there.
const SLUMBER: Duration = Duration::from_secs(1);
