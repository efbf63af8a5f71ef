//! Making entries anew that may still be used.

use std::sync::Arc;

use super::{lead::Lead, release::LeaseRequest};
use crate::store::{
    entry::slot::Slot,
    flight::renewals::Renewal,
    tiers::{inner::Inner, lease::Lease, lookup::Usable},
};

impl Inner {
    /// The right to make the entry anew in this process; `None` when another caller has it, or during the pause after a
    /// failure.
    pub(crate) fn begin_renewal(&self, slot: &Slot) -> Option<Renewal> {
        if self.failures.is_paused(slot.digest()) {
            return None;
        }
        self.renewals.begin(slot.digest())
    }

    /// See `Store::renew`.
    pub(crate) async fn renew(
        self: &Arc<Self>,
        slot: &Slot,
        usable: &Usable,
        renewal: Renewal,
    ) -> Option<Lead> {
        let lease = Lease::new(slot.digest()).ok()?.beside();
        let request = LeaseRequest::new(self, slot, &lease);
        let taken = self
            .remote
            .lease_beside(slot, lease.blob(), self.lease_ttl());
        if taken.await.ok()?.is_some() {
            request.end();
            return None;
        }
        // Another caller may have made it anew since it was read, or while this waited for its turn.
        let sight = self.remote.get(slot).await.ok()?;
        if !sight.seen.is(&usable.seen) {
            self.forget_near(slot.digest());
            return None;
        }
        request.end();
        let seen = usable.seen.clone();
        let lead = Lead::new(self, slot, seen, Some(lease), Some(usable.clone()));
        Some(lead.renewing(renewal))
    }
}
