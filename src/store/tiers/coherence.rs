//! Asking Redis whether what this process keeps is still there.
//!
//! A purge is known from the log. That another process has put a new entry in the place of one that still held is not:
//! so a copy is used for a second at most after it was last compared with what is in Redis. Copies that are in use are
//! compared in the background, before that second is over, so that their hits wait for nothing.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{runtime::Handle, time::timeout};

use super::{inner::Inner, near::Kept};
use crate::store::{
    entry::slot::Slot,
    purge_log::clock::{clock, micros},
};

impl Inner {
    /// Whether a copy was compared lately enough to be used. Has it compared in the background when that is due.
    ///
    /// What is known of the purge log is to be recent.
    pub(crate) fn is_confirmed(self: &Arc<Self>, slot: &Slot, kept: &Arc<Kept>) -> bool {
        let age = self.age(kept);
        if age > micros(ASK_AFTER) {
            self.recheck(slot, kept);
        }
        age <= micros(CONFIRMED_FOR)
    }

    /// The same, but waits for the answer when there is no other.
    pub(crate) async fn confirm(self: &Arc<Self>, slot: &Slot, kept: &Arc<Kept>) -> bool {
        let mut rechecked = pin!(kept.rechecked.notified());
        rechecked.as_mut().enable();
        if self.is_confirmed(slot, kept) {
            return true;
        }
        if !kept.rechecking.load(Ordering::Acquire) {
            // It was over before this could wait for it, or too many are under way.
            return self.age(kept) <= micros(CONFIRMED_FOR);
        }
        let _ = timeout(self.log.redis.deadline() * 2, rechecked).await;
        self.age(kept) <= micros(CONFIRMED_FOR)
    }

    /// For how long nobody has compared it, in microseconds. The last look at the log stands for now: near hits read the
    /// clock once.
    fn age(&self, kept: &Kept) -> u64 {
        let confirmed_at = kept.confirmed_at.load(Ordering::Acquire);
        self.log.looked_at().saturating_sub(confirmed_at)
    }

    fn recheck(self: &Arc<Self>, slot: &Slot, kept: &Arc<Kept>) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let Ok(permit) = Arc::clone(&self.rechecks).try_acquire_owned() else {
            return;
        };
        if kept.rechecking.swap(true, Ordering::AcqRel) {
            return;
        }
        let recheck = Recheck(Arc::clone(kept));
        let (store, slot) = (Arc::clone(self), slot.clone());
        runtime.spawn(async move {
            let began_at = clock();
            let Recheck(kept) = &recheck;
            match store.remote.has(&slot, &kept.held.seen).await {
                Ok(true) => kept.confirmed_at.store(began_at, Ordering::Release),
                // Whoever waits goes on to Redis: what it had is too old already.
                Ok(false) => store.forget_near(slot.digest()),
                // Its shard cannot be asked, while the log can: it stays in use, and the next one asks again soon.
                Err(error) => {
                    tracing::debug!(target: "tower_fred::store", %error, "a copy was not compared");
                    let asked_before = began_at.saturating_sub(micros(ASK_AFTER));
                    kept.confirmed_at.store(asked_before, Ordering::Release);
                }
            }
            drop(permit);
        });
    }
}

/// A comparison that is under way, until this is dropped.
struct Recheck(Arc<Kept>);

impl Drop for Recheck {
    fn drop(&mut self) {
        self.0.rechecking.store(false, Ordering::Release);
        self.0.rechecked.notify_waiters();
    }
}

/// How old the last comparison is when a hit has the next one begun.
const ASK_AFTER: Duration = Duration::from_millis(600);
/// How old it may be when the copy is used. What is known of the log is up to 50 ms old, and an answer takes its time.
const CONFIRMED_FOR: Duration = Duration::from_millis(850);
