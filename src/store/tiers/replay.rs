//! Sends the postponed writes when Redis is back.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::watch, time::sleep};

use super::{
    inner::Inner,
    lease::Lease,
    postponed::{What, Write},
};
use crate::{
    error::Error,
    redis::Health,
    store::entry::{
        decode::Entry,
        slot::{Seen, Slot},
    },
};

impl Inner {
    /// Stores an entry when Redis is back, unless it was purged or replaced until then.
    pub(crate) fn fill_later(
        self: &Arc<Self>,
        slot: &Slot,
        seen: Seen,
        blob: Bytes,
        until: Instant,
    ) {
        // Later, it would overwrite whatever is there then.
        if !matches!(seen, Seen::Foreign) {
            self.postpone(slot, What::Fill { seen, blob }, until);
        }
    }

    /// Gives a lease back when Redis is back. Until then, this process knows that no caller makes anything under it.
    pub(crate) fn release_later(self: &Arc<Self>, slot: &Slot, lease: Lease) {
        self.postpone(slot, What::Release(lease), Instant::now() + RELEASE_WITHIN);
    }

    fn postpone(self: &Arc<Self>, slot: &Slot, what: What, until: Instant) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let slot = slot.clone();
        if self.postponed.push(Write { slot, what, until }) {
            let attendant = Attendant {
                store: Arc::downgrade(self),
                is_over: false,
            };
            runtime.spawn(attend(attendant, self.log.redis.watch_health()));
        }
    }

    /// Sends them once; whether none is left.
    async fn write_postponed(self: &Arc<Self>) -> bool {
        for _ in 0..self.postponed.len() {
            let Some(write) = self.postponed.pop() else {
                break;
            };
            if let Err(error) = self.write(&write).await {
                tracing::debug!(target: "tower_fred::store", %error, "a postponed write failed");
                let is_away = error.is_unavailable();
                if is_away {
                    self.postponed.put_back(write);
                }
                // One shard of a cluster may be away while the others are there.
                if is_away && self.log.redis.health() != Health::Partial {
                    break;
                }
            }
        }
        self.postponed.is_done()
    }

    async fn write(self: &Arc<Self>, write: &Write) -> Result<(), Error> {
        let Write { slot, what, until } = write;
        let left = until.saturating_duration_since(Instant::now());
        match what {
            _ if left.is_zero() => Ok(()),
            What::Release(lease) => self.remote.release(slot, lease).await,
            What::Fill { seen, blob } => {
                self.knowing(async { Ok(()) }).await?;
                let entry = Entry::decode(blob.clone(), slot.digest());
                if entry.is_none_or(|entry| self.judge(slot, &entry).is_none()) {
                    return Ok(());
                }
                if self
                    .remote
                    .fill(slot, seen, blob.clone(), left, None)
                    .await?
                {
                    self.forget_near(slot.digest());
                }
                Ok(())
            }
        }
    }
}

/// The task that sends the writes of a store. When it ends, also with its runtime, the next write starts another one.
struct Attendant {
    store: Weak<Inner>,
    is_over: bool,
}

impl Drop for Attendant {
    fn drop(&mut self) {
        if let (Some(store), false) = (self.store.upgrade(), self.is_over) {
            store.postponed.abandon();
        }
    }
}

async fn attend(mut attendant: Attendant, mut health: watch::Receiver<Health>) {
    let mut pause = FIRST_PAUSE;
    loop {
        if *health.borrow_and_update() == Health::Down {
            pause = FIRST_PAUSE;
        }
        // The sender ends with the last clone of the handle.
        if health
            .wait_for(|health| *health != Health::Down)
            .await
            .is_err()
        {
            return;
        }
        let Some(store) = attendant.store.upgrade() else {
            return;
        };
        if store.write_postponed().await {
            attendant.is_over = true;
            return;
        }
        drop(store);
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// For how long a lease may be in Redis after this process has given it up: the command that takes it may be run late.
const RELEASE_WITHIN: Duration = Duration::from_secs(60);
/// Before the next attempt while Redis counts as up.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(500);
