//! Keeping the near tier coherent with Redis: asking whether an entry in this process is still in Redis.
//!
//! Purges are known from the purge log. It does not tell that another process has replaced an entry that was not purged.
//! So a near copy is used for at most a second after it was last compared with Redis. Copies that are in use are compared
//! in the background before that second is over, so that no hit waits.

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
    /// Whether a copy was compared recently enough to be used. Starts a comparison in the background when it is due.
    ///
    /// The caller has made sure that the copy of the purge log is recent.
    pub(crate) fn is_confirmed(self: &Arc<Self>, slot: &Slot, kept: &Arc<Kept>) -> bool {
        let age = self.age(kept);
        if age > micros(ASK_AFTER) {
            self.recheck(slot, kept);
        }
        age <= micros(CONFIRMED_FOR)
    }

    /// The same, but when the last comparison is too old, waits for the one that is under way.
    pub(crate) async fn confirm(self: &Arc<Self>, slot: &Slot, kept: &Arc<Kept>) -> bool {
        let mut rechecked = pin!(kept.rechecked.notified());
        rechecked.as_mut().enable();
        if self.is_confirmed(slot, kept) {
            return true;
        }
        if !kept.rechecking.load(Ordering::Acquire) {
            // The comparison ended before this could wait for it, or too many are under way.
            return self.age(kept) <= micros(CONFIRMED_FOR);
        }
        let _ = timeout(self.log.redis.deadline() * 2, rechecked).await;
        self.age(kept) <= micros(CONFIRMED_FOR)
    }

    /// How long ago it was last compared, in microseconds. The last read of the log counts as now, so that near hits read
    /// the clock once.
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
                // A caller that waits reads from Redis: its copy is too old already.
                Ok(false) => store.forget_near(slot.digest()),
                // The shard of the entry does not answer, but that of the log does. The copy stays in use, and the next hit
                // starts another comparison soon.
                Err(error) => {
                    tracing::debug!(target: "tower_fred::store", %error, "a near copy was not compared with redis");
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

/// How old the last comparison is when a hit starts the next one.
const ASK_AFTER: Duration = Duration::from_millis(600);
/// How old it may be when the copy is used: less than a second, since the copy of the log is up to 50 ms old and a reply
/// takes time.
const CONFIRMED_FOR: Duration = Duration::from_millis(850);
