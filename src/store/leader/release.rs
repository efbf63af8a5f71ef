//! Ending a lease without storing an entry: it is deleted, replaced, or kept for a second.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle;

use crate::{
    error::Error,
    redis::Health,
    store::{
        entry::slot::Slot,
        flight::renewals::Renewal,
        tiers::{
            inner::Inner,
            lease::{Lease, LeaseEnd},
        },
    },
};

/// A request for a lease. It may succeed before the reply arrives: if the caller is cancelled meanwhile, the lease is
/// given back.
pub(crate) struct LeaseRequest<'a> {
    store: &'a Arc<Inner>,
    slot: &'a Slot,
    lease: Option<Lease>,
}

impl<'a> LeaseRequest<'a> {
    pub(crate) fn new(store: &'a Arc<Inner>, slot: &'a Slot, lease: &Lease) -> Self {
        Self {
            store,
            slot,
            // While Redis counts as down, no command is sent, and there will be no lease to give back.
            lease: (store.log.redis.health() != Health::Down).then(|| lease.clone()),
        }
    }

    /// The reply has arrived: it is known who has the lease.
    pub(crate) fn end(mut self) {
        self.lease = None;
    }
}

impl Drop for LeaseRequest<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            give_back(self.store, self.slot, lease);
        }
    }
}

/// Deletes a lease in the background.
pub(crate) fn give_back(store: &Arc<Inner>, slot: &Slot, lease: Lease) {
    let (store, slot) = (Arc::clone(store), slot.clone());
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            if let Err(error) = store.remote.release(&slot, &lease).await {
                not_given_back(&store, &slot, lease, &error);
            }
        });
    }
}

/// Replaces a lease with the reason for its end for `ttl`, in the background.
pub(crate) fn leave(store: &Arc<Inner>, slot: &Slot, lease: Lease, end: LeaseEnd, ttl: Duration) {
    let (store, slot) = (Arc::clone(store), slot.clone());
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            let blob = end.blob(slot.digest());
            if let Err(error) = store.remote.replace_lease(&slot, &lease, blob, ttl).await {
                not_given_back(&store, &slot, lease, &error);
            }
        });
    }
}

/// The lease is given back when Redis is back, or expires by itself.
fn not_given_back(store: &Arc<Inner>, slot: &Slot, lease: Lease, error: &Error) {
    tracing::debug!(target: "tower_fred::store", %error, "a lease was not given back");
    if error.is_unavailable() {
        store.release_later(slot, lease);
    }
}

/// Keeps a lease and the renewal for [`RETRY`] in the background, so that no other caller begins the renewal at once.
pub(crate) fn keep(store: &Arc<Inner>, slot: &Slot, lease: Lease, renewal: Renewal) {
    let (store, slot) = (Arc::clone(store), slot.clone());
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            let blob = lease.blob().clone();
            let kept = store.remote.replace_lease(&slot, &lease, blob, RETRY);
            let (kept, ()) = tokio::join!(kept, tokio::time::sleep(RETRY));
            if let Err(error) = kept {
                tracing::debug!(target: "tower_fred::store", %error, "a lease was not kept");
            }
            drop(renewal);
        });
    }
}

/// How long no caller begins a renewal again that was not finished.
const RETRY: Duration = Duration::from_secs(1);
