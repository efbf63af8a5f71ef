//! Making what is not there: who makes it, and who waits.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{time::timeout, try_join};

use super::{
    lead::Lead,
    lease::{Asking, Lease, Remains},
};
use crate::error::Error;
use crate::store::{
    entry::{
        decode::Entry,
        life::{Seq, Subject, Tag},
        state::{State, Verdict},
    },
    flight::{
        flights::{Boarding, Landing, Seat},
        pulse::Watch,
    },
    store::{Inner, Turn, Usable},
    tiers::{
        near::Held,
        remote::{Seen, Slot},
    },
};

impl Inner {
    pub(crate) async fn begin(self: &Arc<Self>, slot: &Slot, mut seen: Option<Seen>) -> Turn {
        if seen.is_none() {
            if let Some(usable) = self.look_here(slot).await {
                return Turn::Follow(usable);
            }
        }
        if self.refusals.has(slot.digest(), Instant::now()) {
            return Turn::Lead(Lead::alone(self, slot, seen.unwrap_or(Seen::Nothing)));
        }
        if let Some(turn) = self.probe(slot).await {
            return turn;
        }
        let joined = Instant::now();
        let mut is_known = true;
        // Who has led for longer than anybody waits may never end.
        let is_late = |seq, since: Instant| {
            since.elapsed() > self.settings.wait
                || self.is_purged(seq, slot.subject(), slot.group())
        };
        for _ in 0..FLIGHTS {
            let now = self.log.seq();
            // What cannot be judged is for those who came before it was begun; the others take the next flight.
            let usable = |found: &Landing| {
                (is_known || found.began >= joined) && self.judge(slot, &found.held.entry).is_some()
            };
            let boarding = self.flights.join(*slot.digest(), now, is_late, usable);
            // Who leads may have to wait for another process first: its followers are not to load all at once just then.
            match timeout(self.settings.wait * 2, boarding).await {
                Err(_) | Ok(Boarding::Deserted) => break,
                // Those who waited for what failed, or turned out not to be storable, go on all at once.
                Ok(Boarding::Failed(leaders)) => {
                    let seen = match leaders {
                        Seen::Unknown => seen.unwrap_or(leaders),
                        _ => leaders,
                    };
                    return Turn::Lead(Lead::alone(self, slot, seen));
                }
                Ok(Boarding::Lead(seat)) => return self.lead(slot, seen, seat).await,
                Ok(Boarding::Follow(Landing { held, began })) => {
                    let is_for_us = began >= joined;
                    is_known = is_for_us || self.knowing(async { Ok(()) }).await.is_ok();
                    let state = self.judge(slot, &held.entry);
                    if let (Some(state), true) = (state, is_known) {
                        let Held { entry, seen } = held;
                        return Turn::Follow(Usable { entry, state, seen });
                    }
                }
            }
            seen = None;
        }
        Turn::Lead(Lead::alone(self, slot, Seen::Unknown))
    }

    /// Looks first, as the one for whom others wait.
    async fn lead(self: &Arc<Self>, slot: &Slot, seen: Option<Seen>, seat: Seat) -> Turn {
        let began = Instant::now();
        let watch = Watch {
            pulse: Some(Arc::clone(seat.pulse())),
            hold: None,
        };
        match watch.during(self.claim(slot, seen)).await {
            Ok(Claim::Found(usable)) => {
                let held = Held {
                    entry: Arc::clone(&usable.entry),
                    seen: usable.seen.clone(),
                };
                seat.land(held, began).end();
                Turn::Follow(usable)
            }
            Ok(Claim::Ours { seen, lease, stale }) => {
                Turn::Lead(Lead::new(self, slot, seen, lease, stale).seated(seat))
            }
            Ok(Claim::InVain(seen)) => {
                seat.fail(seen.clone());
                Turn::Lead(Lead::alone(self, slot, seen))
            }
            Err(error) => {
                tracing::debug!(target: "tower_fred::store", %error, "nothing can be looked up");
                Turn::Lead(Lead::alone(self, slot, Seen::Unknown).seated(seat))
            }
        }
    }

    fn is_purged(&self, seq: Seq, subject: Subject, group: Tag) -> bool {
        // Before the first look nothing is known, of which nothing follows.
        self.log.seq() != Seq::default() && self.log.judge(seq, subject, [group]) == Verdict::Gone
    }

    /// Looks for what others have made or are making, and takes the lease for making it when there is nothing.
    async fn claim(self: &Arc<Self>, slot: &Slot, seen: Option<Seen>) -> Result<Claim, Error> {
        let lease = match self.wants_lease() {
            true => Lease::new(slot.digest())?,
            false => return self.claim_here(slot, seen).await,
        };
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut has_waited = false;
        loop {
            let asking = Asking::new(self, slot, &lease);
            let look = self
                .remote
                .get_or_lease(slot, lease.blob(), self.lease_ttl());
            let (sight, ours) = match self.knowing(look).await {
                // A server that is full, or only a replica, may still be read.
                Err(error) if !error.is_timeout() => return self.claim_here(slot, None).await,
                looked => looked?,
            };
            asking.end();
            self.reach(&sight).await?;
            if ours {
                return Ok(Claim::ours(sight.seen, Some(lease), None));
            }
            let is_leased = matches!(sight.entry, Some(Entry::Lease));
            let remains = is_leased.then(|| Remains::read(&sight.blob, slot.digest()));
            if let Some(Some(_)) = remains {
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
                if let Some(claim) = self.claim_beside(slot, lease, has_waited).await? {
                    return Ok(claim);
                }
            }
            if started.elapsed() + pause > self.settings.wait {
                return Ok(Claim::ours(seen, None, stale));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
            has_waited = true;
        }
    }

    /// The same where something of no use is in the way; `None` when somebody else has the lease.
    pub(crate) async fn claim_beside(
        self: &Arc<Self>,
        slot: &Slot,
        lease: Lease,
        has_waited: bool,
    ) -> Result<Option<Claim>, Error> {
        let asking = Asking::new(self, slot, &lease);
        // In one write: what was there when the lease was taken is known for sure.
        let taken = self
            .remote
            .lease_beside(slot, lease.blob(), self.lease_ttl());
        let (there, sight) = try_join!(taken, self.remote.get(slot))?;
        self.reach(&sight).await?;
        let seen = sight.seen.clone();
        let stale = match self.admit(slot, sight) {
            // A lease that was taken is given back here.
            Some(usable) if usable.state <= State::WhileRevalidate => {
                return Ok(Some(Claim::Found(usable)));
            }
            stale => stale,
        };
        asking.end();
        let Some(there) = there else {
            return Ok(Some(Claim::ours(seen, Some(lease), stale)));
        };
        Ok(match (Remains::read(&there, slot.digest()), stale) {
            // That is the case which it is for.
            (Some(Remains::Failed), Some(usable)) if usable.state == State::IfError => {
                self.failures.note(slot.digest(), self.settings.error_pause);
                Some(Claim::Found(usable))
            }
            (Some(_), stale) => Some(Claim::after(has_waited, seen, stale)),
            (None, _) => None,
        })
    }

    /// The same without a lease.
    async fn claim_here(&self, slot: &Slot, seen: Option<Seen>) -> Result<Claim, Error> {
        if let Some(seen) = seen {
            self.knowing(async { Ok(()) }).await?;
            return Ok(Claim::ours(seen, None, None));
        }
        let sight = self.look_there(slot).await?;
        let seen = sight.seen.clone();
        Ok(match self.admit(slot, sight) {
            Some(usable) if usable.state <= State::WhileRevalidate => Claim::Found(usable),
            stale => Claim::ours(seen, None, stale),
        })
    }

    /// Whether what is made takes long enough for other processes to wait for it.
    fn wants_lease(&self) -> bool {
        match self.cost.load(Ordering::Relaxed) {
            0 => true,
            cost => u128::from(cost) > self.settings.lease_above.as_millis(),
        }
    }

    /// Takes note of how long it took to make an entry.
    pub(crate) fn note_cost(&self, cost_ms: u64) {
        let new = cost_ms.saturating_add(1);
        let cost = match self.cost.load(Ordering::Relaxed) {
            0 => new,
            old => old.saturating_mul(3).saturating_add(new).div_ceil(4),
        };
        self.cost.store(cost, Ordering::Relaxed);
    }
}

/// The outcome of [`Inner::claim`].
pub(crate) enum Claim {
    Found(Usable),
    Ours {
        seen: Seen,
        lease: Option<Lease>,
        stale: Option<Usable>,
    },
    /// Another process was waited for, which found nothing to store. Who waits any longer does so for itself.
    InVain(Seen),
}

impl Claim {
    fn ours(seen: Seen, lease: Option<Lease>, stale: Option<Usable>) -> Self {
        Self::Ours { seen, lease, stale }
    }

    /// Of one who finds what a leader has left that had nothing to store.
    fn after(has_waited: bool, seen: Seen, stale: Option<Usable>) -> Self {
        match (has_waited, stale) {
            (true, None) => Self::InVain(seen),
            (_, stale) => Self::ours(seen, None, stale),
        }
    }
}

/// How many flights are waited for that turn out to be too late.
const FLIGHTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(50);
