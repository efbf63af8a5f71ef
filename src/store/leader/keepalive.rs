//! Extending the lease of a leader while the leader makes progress.

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
    /// How long a lease lives after it was taken or last extended.
    pub(crate) fn lease_ttl(&self) -> Duration {
        SILENCE.min(self.settings.wait)
    }
}

/// Keeps a lease alive while its owner makes progress.
pub(crate) struct KeepAlive {
    store: Arc<Inner>,
    slot: Slot,
    lease: Lease,
    /// When to extend the lease next; [`NEVER`] when it is lost.
    due_ms: AtomicU64,
    /// When Redis deletes the lease, or a little later.
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

    /// Notes progress, and extends the lease in the background when that is due.
    pub(crate) fn note(self: &Arc<Self>, now_ms: u64) {
        let due_ms = self.due_ms.load(Ordering::Relaxed);
        if now_ms < due_ms {
            return;
        }
        // A lease that has ended may have been taken by another process.
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
            // Tried again with later progress, until the lease has ended.
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

/// When a lease is first extended after it was taken: a load that ends before then costs no extra command.
const FIRST_MS: u64 = 500;
const NEXT_MS: u64 = 350;
const NEVER: u64 = u64::MAX;
