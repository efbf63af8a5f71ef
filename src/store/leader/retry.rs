//! Trying again where the last load failed, while there is a stale entry to use instead.

use std::sync::Arc;

use super::{claim::Claim, lead::Lead, turn::Turn};
use crate::store::{
    entry::{slot::Slot, state::State},
    tiers::{budget::Budget, inner::Inner, lease::Lease},
};

impl Inner {
    /// What to do where the last load failed: one caller at a time of all processes tries again after each pause, and the
    /// others use the stale entry without waiting. `None` when that is not so, or there is no stale entry any more.
    pub(crate) async fn probe(self: &Arc<Self>, slot: &Slot, budget: Budget) -> Option<Turn> {
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
            // Another process had more luck.
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
            // Redis is no longer there to say who tries.
            Err(_) => {
                let seen = usable.seen.clone();
                Turn::Lead(
                    Lead::new(self, slot, seen, None, Some(usable)).with_leadership(leadership),
                )
            }
        })
    }
}
