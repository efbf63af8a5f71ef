//! The lease of a leader, extended for as long as the leader gives signs of life.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::runtime::Handle;

use crate::store::{
    entry::slot::Slot,
    flight::heartbeat::{SILENCE, now_ms},
    tiers::{inner::Inner, lease::Lease},
};

impl Inner {
    /// How long a lease lives after its owner's last sign of life.
    pub(crate) fn lease_ttl(&self) -> Duration {
        SILENCE.min(self.settings.wait)
    }
}

/// A lease that lives for as long as its owner gives signs of life.
pub(crate) struct KeepAlive {
    store: Arc<Inner>,
    slot: Slot,
    lease: Lease,
    /// When to extend it next; [`NEVER`] when it is lost.
    due_ms: AtomicU64,
    /// When Redis deletes it, or a little later.
    end_ms: AtomicU64,
}

impl KeepAlive {
    pub(crate) fn new(store: &Arc<Inner>, slot: &Slot, lease: &Lease) -> Self {
        let now_ms = now_ms();
        Self {
            due_ms: AtomicU64::new(now_ms + FIRST_MS),
            end_ms: AtomicU64::new(now_ms + millis(store.lease_ttl())),
            store: Arc::clone(store),
            slot: slot.clone(),
            lease: lease.clone(),
        }
    }

    /// Takes note of a sign of life, and has the lease extended in the background when it is time.
    pub(crate) fn note(self: &Arc<Self>, now_ms: u64) {
        let due_ms = self.due_ms.load(Ordering::Relaxed);
        if now_ms < due_ms {
            return;
        }
        // What has ended may be somebody else's by now.
        let has_ended = now_ms >= self.end_ms.load(Ordering::Relaxed);
        let next_ms = if has_ended { NEVER } else { now_ms + NEXT_MS };
        let is_first =
            self.due_ms
                .compare_exchange(due_ms, next_ms, Ordering::Relaxed, Ordering::Relaxed);
        if let (Ok(_), false, Ok(runtime)) = (is_first, has_ended, Handle::try_current()) {
            let keepalive = Arc::clone(self);
            runtime.spawn(async move { keepalive.extend(now_ms).await });
        }
    }

    async fn extend(&self, now_ms: u64) {
        let Self { store, lease, .. } = self;
        let ttl = store.lease_ttl();
        let extended = store
            .remote
            .replace_lease(&self.slot, lease, lease.blob().clone(), ttl);
        match extended.await {
            Ok(true) => {
                self.end_ms
                    .fetch_max(now_ms + millis(ttl), Ordering::Relaxed);
            }
            Ok(false) => self.due_ms.store(NEVER, Ordering::Relaxed),
            // It is tried again at a later sign of life, until the lease has ended.
            Err(_) => {}
        }
    }
}

impl fmt::Debug for KeepAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepAlive").finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long after it was taken a lease is extended for the first time: a load that ends before costs no more commands.
const FIRST_MS: u64 = 500;
const NEXT_MS: u64 = 350;
const NEVER: u64 = u64::MAX;
