//! Making anew what may still be used.

use std::{future::Future, sync::Arc};

use tokio::time::timeout;

use super::{
    lead::Lead,
    lease::{Asking, Lease},
};
use crate::store::{
    flight::tasks::Renewal,
    store::{Inner, Store, Usable},
    tiers::remote::Slot,
};

impl Store {
    /// The right to make anew what is there and still usable; `None` when another caller or process has it, or the last
    /// one failed a moment ago.
    pub(crate) async fn renew(&self, slot: &Slot, usable: &Usable) -> Option<Lead> {
        let renewal = self.inner.begin_renewal(slot)?;
        self.inner.renew(slot, usable, renewal).await
    }

    /// Makes it anew in the background with what `make` gives, which is called when it is its turn and there is still a
    /// need. It ends with the last clone of this store, or when it takes too long.
    ///
    /// There is one at a time for each key, waiting or running; when too many wait, this one is left out.
    pub(crate) fn refresh<F, Fut>(&self, slot: Slot, usable: Usable, make: F)
    where
        F: FnOnce(Lead, Slot) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let Some(renewal) = self.inner.begin_renewal(&slot) else {
            return;
        };
        let inner = Arc::clone(&self.inner);
        let limit = inner.settings.refresh_limit;
        self.tasks.spawn(async move {
            let refreshed = async {
                if let Some(lead) = inner.renew(&slot, &usable, renewal).await {
                    make(lead, slot).await;
                }
            };
            if timeout(limit, refreshed).await.is_err() {
                tracing::debug!(target: "tower_fred::store", "a stale entry was not made anew in time");
            }
        });
    }
}

impl Inner {
    fn begin_renewal(&self, slot: &Slot) -> Option<Renewal> {
        if self.failures.is_paused(slot.digest()) {
            return None;
        }
        self.renewals.begin(slot.digest())
    }

    async fn renew(
        self: &Arc<Self>,
        slot: &Slot,
        usable: &Usable,
        renewal: Renewal,
    ) -> Option<Lead> {
        let lease = Lease::new(slot.digest()).ok()?.beside();
        let asking = Asking::new(self, slot, &lease);
        let taken = self
            .remote
            .lease_beside(slot, lease.blob(), self.lease_ttl());
        if taken.await.ok()?.is_some() {
            asking.end();
            return None;
        }
        // It may have been made anew since it was read, by another process or while this waited for its turn.
        let sight = self.remote.get(slot).await.ok()?;
        if !sight.seen.is(&usable.seen) {
            self.forget_near(slot.digest());
            return None;
        }
        asking.end();
        let seen = usable.seen.clone();
        let lead = Lead::new(self, slot, seen, Some(lease), Some(usable.clone()));
        Some(lead.renewing(renewal))
    }
}
