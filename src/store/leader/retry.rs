//! Trying again after a load that failed, while there is a stale entry to use instead.

use std::sync::Arc;

use super::{claim::Claim, lead::Lead, turn::Turn};
use crate::{
    redis::Budget,
    store::{
        entry::{slot::Slot, state::State},
        tiers::{inner::Inner, lease::Lease},
    },
};

impl Inner {
    /// What to do when the last load failed: after each pause, one caller of all processes tries again, and the others use
    /// the stale entry without waiting. `None` when the last load did not fail, or there is no stale entry any more.
    pub(crate) async fn retry(self: &Arc<Self>, slot: &Slot, budget: Budget) -> Option<Turn> {
        let key = slot.digest();
        if !self.failures.has(key) {
            return None;
        }
        let usable = self.lookup(slot, budget).await.ok()?.usable;
        let Some(usable) = usable.filter(|usable| usable.state <= State::IfError) else {
            self.failures.forget(key);
            return None;
        };
        if usable.state <= State::Early {
            // Another process has made it meanwhile.
            self.failures.forget(key);
        }
        if usable.state <= State::WhileRevalidate || self.failures.is_paused(key) {
            return Some(Turn::Follow(usable));
        }
        let Some(leadership) = self.flights.try_lead(*key, self.log.seq()) else {
            return Some(Turn::Follow(usable));
        };
        let lease = Lease::new(key).ok()?.beside();
        Some(match self.claim_beside(slot, lease, false, budget).await {
            Ok(Some(Claim::Ours { seen, lease, stale })) => {
                Turn::Lead(Lead::new(self, slot, seen, lease, stale).with_leadership(leadership))
            }
            Ok(Some(Claim::Found(found))) => Turn::Follow(found),
            Ok(Some(Claim::InVain(_)) | None) => Turn::Follow(usable),
            // Redis does not answer: each process has one caller that tries.
            Err(_) => {
                let seen = usable.seen.clone();
                Turn::Lead(
                    Lead::new(self, slot, seen, None, Some(usable)).with_leadership(leadership),
                )
            }
        })
    }
}
