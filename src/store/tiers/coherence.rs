//! Keeping the near tier coherent with Redis: asking whether an entry in this process is still in Redis.
//!
//! Purges are known from the purge log. It does not tell that another process has replaced an entry that was not purged.
//! So a near copy is used for at most a second after it was last compared with Redis, or as long as what is known of purges
//! may be old, if that is longer. Copies that are in use are compared
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
    pub(crate) fn is_confirmed(self: &Arc<Self>, slot: &Slot, kept: &Arc<Kept>, now: u64) -> bool {
        let (age, most) = (age(kept, now), self.confirmed_for());
        if age > most - micros(ASK_BEFORE) {
            self.recheck(slot, kept);
        }
        age <= most
    }

    /// The same, but when the last comparison is too old, waits for the one that is under way.
    pub(crate) async fn confirm(self: &Arc<Self>, slot: &Slot, kept: &Arc<Kept>) -> bool {
        let mut rechecked = pin!(kept.rechecked.notified());
        rechecked.as_mut().enable();
        if self.is_confirmed(slot, kept, clock()) {
            return true;
        }
        if !kept.rechecking.load(Ordering::Acquire) {
            // The comparison ended before this could wait for it, or too many are under way.
            return age(kept, clock()) <= self.confirmed_for();
        }
        let _ = timeout(self.log.redis.deadline() * 2, rechecked).await;
        age(kept, clock()) <= self.confirmed_for()
    }

    /// How old the last comparison may be when a copy is used, in microseconds.
    fn confirmed_for(&self) -> u64 {
        micros(self.log.redis.coherence().max(CONFIRMED_FOR))
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
        let ask_after = self.confirmed_for() - micros(ASK_BEFORE);
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
                    let asked_before = began_at.saturating_sub(ask_after);
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

/// How long ago it was last compared, in microseconds.
fn age(kept: &Kept, now: u64) -> u64 {
    now.saturating_sub(kept.confirmed_at.load(Ordering::Acquire))
}

/// How old the last comparison may be when the copy is used, at least: less than a second, since a reply takes time.
const CONFIRMED_FOR: Duration = Duration::from_millis(850);
/// How long before that a hit starts the next comparison.
const ASK_BEFORE: Duration = Duration::from_millis(250);
