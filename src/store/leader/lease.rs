//! Leases: what tells other processes that an entry is being made.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::error::Error;
use crate::store::{
    entry::{encode::Writer, key::Digest},
    flight::{
        pulse::{SILENCE, now_ms},
        tasks::Renewal,
    },
    purge_log::log::token,
    store::Inner,
    tiers::remote::Slot,
};

/// What tells other processes that an entry is being made. Redis deletes it a second after its owner's last sign of life.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    blob: Bytes,
    beside: bool,
}

/// What a leader leaves in the place of its lease when it has nothing to store, so that nobody who waited for it waits for
/// another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remains {
    /// The load failed.
    Failed,
    /// What was made is not to be stored.
    Refused,
}

impl Lease {
    pub(crate) fn new(digest: &Digest) -> Result<Self, Error> {
        Ok(Self {
            blob: Writer::lease(&token()?, digest),
            beside: false,
        })
    }

    /// One that is kept beside the slot, for making anew what is in it.
    pub(crate) fn beside(mut self) -> Self {
        self.beside = true;
        self
    }

    pub(crate) fn is_beside(&self) -> bool {
        self.beside
    }

    pub(crate) fn blob(&self) -> &Bytes {
        &self.blob
    }
}

impl Remains {
    /// What is written: a lease with a token that no leader draws.
    pub(crate) fn blob(self, digest: &Digest) -> Bytes {
        let token = match self {
            Self::Failed => b"failed\0\0",
            Self::Refused => b"refused\0",
        };
        Writer::lease(token, digest)
    }

    /// What `blob` is, if it is not somebody's lease.
    pub(crate) fn read(blob: &Bytes, digest: &Digest) -> Option<Self> {
        let all = [Self::Failed, Self::Refused];
        all.into_iter().find(|one| one.blob(digest) == *blob)
    }
}

impl Inner {
    /// How long a lease lives after its owner's last sign of life.
    pub(crate) fn lease_ttl(&self) -> Duration {
        SILENCE.min(self.settings.wait)
    }
}

/// A lease that lives for as long as its owner gives signs of life.
pub(crate) struct Hold {
    store: Arc<Inner>,
    slot: Slot,
    lease: Lease,
    /// When to extend it next; [`NEVER`] when it is lost.
    due_ms: AtomicU64,
    /// When Redis deletes it, or a little later.
    end_ms: AtomicU64,
}

impl Hold {
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
            let hold = Arc::clone(self);
            runtime.spawn(async move { hold.extend(now_ms).await });
        }
    }

    async fn extend(&self, now_ms: u64) {
        let Self { store, lease, .. } = self;
        let ttl = store.lease_ttl();
        let extended = store
            .remote
            .replace_lease(&self.slot, lease, lease.blob.clone(), ttl);
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

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").finish_non_exhaustive()
    }
}

/// A lease that was asked for: it may be ours before we know. Given back when whoever asked is cancelled.
pub(crate) struct Asking<'a> {
    store: &'a Arc<Inner>,
    slot: &'a Slot,
    lease: Option<Lease>,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(store: &'a Arc<Inner>, slot: &'a Slot, lease: &Lease) -> Self {
        Self {
            store,
            slot,
            lease: Some(lease.clone()),
        }
    }

    /// It is known whose it is.
    pub(crate) fn end(mut self) {
        self.lease = None;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            give_back(self.store, self.slot, lease);
        }
    }
}

/// Deletes a lease, in the background.
pub(crate) fn give_back(store: &Arc<Inner>, slot: &Slot, lease: Lease) {
    let (store, slot) = (Arc::clone(store), slot.clone());
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            if let Err(error) = store.remote.release(&slot, &lease).await {
                // It ends by itself.
                tracing::debug!(target: "tower_fred::store", %error, "a lease was not given back");
            }
        });
    }
}

/// Puts something else in the place of a lease for `ttl`, in the background.
pub(crate) fn leave(
    store: &Arc<Inner>,
    slot: &Slot,
    lease: Lease,
    remains: Remains,
    ttl: Duration,
) {
    let (store, slot) = (Arc::clone(store), slot.clone());
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            let blob = remains.blob(slot.digest());
            if let Err(error) = store.remote.replace_lease(&slot, &lease, blob, ttl).await {
                // It ends by itself.
                tracing::debug!(target: "tower_fred::store", %error, "a lease was not given back");
            }
        });
    }
}

/// Keeps a lease for [`RETRY`], in the background, so that nobody begins at once what its owner has not finished.
pub(crate) fn keep(store: &Arc<Inner>, slot: &Slot, lease: Lease, renewal: Renewal) {
    let (store, slot) = (Arc::clone(store), slot.clone());
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            let blob = lease.blob.clone();
            let kept = store.remote.replace_lease(&slot, &lease, blob, RETRY);
            let (kept, ()) = tokio::join!(kept, tokio::time::sleep(RETRY));
            if let Err(error) = kept {
                tracing::debug!(target: "tower_fred::store", %error, "a lease was not kept");
            }
            drop(renewal);
        });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long nobody else renews what one has not finished.
const RETRY: Duration = Duration::from_secs(1);
/// How long after it was taken a lease is extended for the first time: a load that ends before costs no more commands.
const FIRST_MS: u64 = 500;
const NEXT_MS: u64 = 350;
const NEVER: u64 = u64::MAX;
