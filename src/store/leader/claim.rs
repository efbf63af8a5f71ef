//! What a leader finds in Redis: an entry of another process, or the lease for making one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::try_join;

use super::release::LeaseRequest;
use crate::{
    error::Error,
    redis::Budget,
    store::{
        entry::{
            decode::Entry,
            slot::{Seen, Slot},
            state::State,
        },
        tiers::{
            inner::Inner,
            lease::{Lease, LeaseEnd},
            lookup::Usable,
        },
    },
};

impl Inner {
    /// Looks for an entry that other processes have made, waits for one that they are making, and takes the lease for making
    /// one when there is neither.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        slot: &Slot,
        seen: Option<Seen>,
        budget: &mut Budget,
    ) -> Result<Claim, Error> {
        let lease = match self.wants_lease() {
            true => Lease::new(slot.digest())?,
            false => return self.claim_here(slot, seen, *budget).await,
        };
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut has_waited = false;
        loop {
            let request = LeaseRequest::new(self, slot, &lease);
            let look = self
                .remote
                .get_or_lease(slot, lease.blob(), self.lease_ttl());
            let (sight, ours) = match budget.limit(self.knowing(look)).await {
                // A server that refuses writes, since it is full or a replica, may still be read.
                Err(error) if !error.is_timeout() => {
                    return self.claim_here(slot, None, *budget).await;
                }
                looked => looked?,
            };
            request.end();
            budget.limit(self.reach(&sight)).await?;
            if ours {
                return Ok(Claim::ours(sight.seen, Some(lease), None));
            }
            let is_leased = matches!(sight.entry.as_deref(), Some(Entry::Lease));
            let dead = is_leased.then(|| self.postponed.take_lease(&sight.blob));
            if let Some(Some(dead)) = dead {
                return Ok(Claim::ours(sight.seen, Some(dead), None));
            }
            let end = is_leased.then(|| LeaseEnd::read(&sight.blob, slot.digest()));
            if let Some(Some(_)) = end {
                return Ok(Claim::after(has_waited, sight.seen, None));
            }
            let seen = sight.seen.clone();
            let stale = match self.admit(slot, sight) {
                Some(usable) if usable.state <= State::WhileRevalidate => {
                    return Ok(Claim::Found(usable));
                }
                stale => stale,
            };
            if !is_leased {
                let lease = lease.clone().beside();
                if let Some(claim) = self.claim_beside(slot, lease, has_waited, *budget).await? {
                    return Ok(claim);
                }
            }
            if started.elapsed() + pause > self.settings.wait {
                return Ok(Claim::ours(seen, None, stale));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
            has_waited = true;
            // What is asked from now on is asked while somebody else makes the entry.
            *budget = self.budget();
        }
    }

    /// The same where there is an entry in the slot that cannot be used; `None` when another process has the lease.
    pub(crate) async fn claim_beside(
        self: &Arc<Self>,
        slot: &Slot,
        lease: Lease,
        has_waited: bool,
        budget: Budget,
    ) -> Result<Option<Claim>, Error> {
        let request = LeaseRequest::new(self, slot, &lease);
        // Both are sent together, in this order: the entry is read after the lease was taken.
        let taken = self
            .remote
            .lease_beside(slot, lease.blob(), self.lease_ttl());
        let both = async {
            let (there, sight) = try_join!(taken, self.remote.get(slot))?;
            self.reach(&sight).await?;
            Ok((there, sight))
        };
        let (there, sight) = budget.limit(both).await?;
        let seen = sight.seen.clone();
        let stale = match self.admit(slot, sight) {
            // If the lease was taken, dropping the request gives it back.
            Some(usable) if usable.state <= State::WhileRevalidate => {
                return Ok(Some(Claim::Found(usable)));
            }
            stale => stale,
        };
        request.end();
        let Some(there) = there else {
            return Ok(Some(Claim::ours(seen, Some(lease), stale)));
        };
        if let Some(dead) = self.postponed.take_lease(&there) {
            return Ok(Some(Claim::ours(seen, Some(dead), stale)));
        }
        Ok(match (LeaseEnd::read(&there, slot.digest()), stale) {
            // The load of another process failed: stale-if-error applies.
            (Some(LeaseEnd::Failed), Some(usable)) if usable.state == State::IfError => {
                self.failures.note(slot.digest(), self.settings.error_pause);
                Some(Claim::Found(usable))
            }
            (Some(_), stale) => Some(Claim::after(has_waited, seen, stale)),
            (None, _) => None,
        })
    }

    /// Looks without taking a lease, unless the caller has looked.
    async fn claim_here(
        &self,
        slot: &Slot,
        seen: Option<Seen>,
        budget: Budget,
    ) -> Result<Claim, Error> {
        if let Some(seen) = seen {
            // The purge log need not be read again: purges after what is known of it apply to the entry.
            return Ok(Claim::ours(seen, None, None));
        }
        let sight = self.look_there(slot, budget).await?;
        let seen = sight.seen.clone();
        Ok(match self.admit(slot, sight) {
            Some(usable) if usable.state <= State::WhileRevalidate => Claim::Found(usable),
            stale => Claim::ours(seen, None, stale),
        })
    }

    /// Whether making an entry takes long enough for other processes to wait for it.
    fn wants_lease(&self) -> bool {
        self.cost.is_unknown_or_above(self.settings.lease_above)
    }
}

/// The outcome of [`Inner::claim`].
pub(crate) enum Claim {
    /// An entry that may be used.
    Found(Usable),
    /// The entry is to be made, with a lease if others are to wait for it.
    Ours {
        seen: Seen,
        lease: Option<Lease>,
        stale: Option<Usable>,
    },
    /// Another process was waited for, which had nothing to store. Each caller makes the entry for itself.
    InVain(Seen),
}

impl Claim {
    fn ours(seen: Seen, lease: Option<Lease>, stale: Option<Usable>) -> Self {
        Self::Ours { seen, lease, stale }
    }

    /// The claim of a process that finds that a leader had nothing to store.
    fn after(has_waited: bool, seen: Seen, stale: Option<Usable>) -> Self {
        match (has_waited, stale) {
            (true, None) => Self::InVain(seen),
            (_, stale) => Self::ours(seen, None, stale),
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(50);
