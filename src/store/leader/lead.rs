//! The right to make an entry, and what comes of it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::{
    hold::Hold,
    release::{self, give_back},
    watch::Watch,
};
use crate::store::{
    entry::{
        decode::{Entry, MARK},
        lifetime::Life,
        log_position::Seq,
        slot::{Held, Seen, Slot},
    },
    flight::{
        flights::{Place, Seat},
        renewals::Renewal,
    },
    purge_log::clock::unix_millis,
    tiers::{
        inner::Inner,
        lease::{Lease, Remains},
        lookup::Usable,
    },
};

/// The right to make the entry of one slot.
///
/// [`fill`](Self::fill), [`uncacheable`](Self::uncacheable) and [`failed`](Self::failed) end it; dropping it hands it over
/// to whoever waits, in this process or another. So does being without a [sign of life](Self::progress) for a second.
pub(crate) struct Lead {
    turn: Option<Box<Turn>>,
    started: Instant,
    seq: Seq,
}

struct Turn {
    store: Arc<Inner>,
    slot: Slot,
    seen: Seen,
    lease: Option<Lease>,
    stale: Option<Usable>,
    seat: Option<Seat>,
    renewal: Option<Renewal>,
    watch: Watch,
}

impl Lead {
    pub(crate) fn new(
        store: &Arc<Inner>,
        slot: &Slot,
        seen: Seen,
        lease: Option<Lease>,
        stale: Option<Usable>,
    ) -> Self {
        let hold = lease.as_ref().map(|lease| Hold::new(store, slot, lease));
        let watch = Watch {
            pulse: None,
            hold: hold.map(Arc::new),
        };
        Self {
            turn: Some(Box::new(Turn {
                store: Arc::clone(store),
                slot: slot.clone(),
                seen,
                lease,
                stale,
                seat: None,
                renewal: None,
                watch,
            })),
            started: Instant::now(),
            // What is purged from now on beats what is made.
            seq: store.log.seq(),
        }
    }

    /// One that nobody waits for.
    pub(crate) fn alone(store: &Arc<Inner>, slot: &Slot, seen: Seen) -> Self {
        Self::new(store, slot, seen, None, None)
    }

    pub(crate) fn seated(mut self, seat: Seat) -> Self {
        if let Some(turn) = &mut self.turn {
            turn.watch.pulse = Some(Arc::clone(seat.pulse()));
            turn.seat = Some(seat);
        }
        self
    }

    pub(crate) fn renewing(mut self, renewal: Renewal) -> Self {
        if let Some(turn) = &mut self.turn {
            turn.renewal = Some(renewal);
        }
        self
    }

    /// Takes note that the making of the entry goes on: nobody waits for longer than a second for a lead that does not.
    pub(crate) fn progress(&self) {
        if let Some(turn) = &self.turn {
            turn.watch.note();
        }
    }

    /// What notes the same while a future runs, see [`Watch::during`].
    pub(crate) fn watch(&self) -> Watch {
        let turn = self.turn.as_ref();
        turn.map_or_else(Watch::default, |turn| turn.watch.clone())
    }

    /// What was known of the purge log before the entry was made.
    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    /// Whether [`fill`](Self::fill) will store an entry, as far as it is known: the right is to more than to make one for
    /// oneself, there is a runtime to write in, and Redis took what was written last.
    pub(crate) fn can_store(&self) -> bool {
        let is_ours =
            |turn: &Turn| !matches!(turn.seen, Seen::Unknown) && turn.store.remote.takes_writes();
        self.turn.as_deref().is_some_and(is_ours) && Handle::try_current().is_ok()
    }

    /// For how long it has been in the making.
    pub(crate) fn cost_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What is there, to be validated or to be used if nothing can be made.
    pub(crate) fn stale(&self) -> Option<&Usable> {
        self.turn.as_ref()?.stale.as_ref()
    }

    /// Gives the entry to all who wait, and stores it in the background, unless it was purged or replaced meanwhile.
    pub(crate) fn fill(mut self, blob: Bytes, ttl: Duration) {
        let Some(mut turn) = self.turn.take() else {
            return;
        };
        turn.store.cost.note(self.cost_ms());
        turn.store.refusals.forget(turn.slot.digest());
        turn.store.failures.forget(turn.slot.digest());
        // What this process has is not the newest any more.
        turn.store.forget_near(turn.slot.digest());
        let place = turn.land(&blob, self.started);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(turn.store(blob, ttl, place));
        }
    }

    /// What was made is not to be stored: those who wait make it for themselves, and for a moment nobody waits.
    pub(crate) fn uncacheable(mut self) {
        let Some(mut turn) = self.turn.take() else {
            return;
        };
        turn.store.cost.note(self.cost_ms());
        turn.store.refusals.note(turn.slot.digest(), Instant::now());
        turn.leave(Remains::Refused, REMAINS);
        turn.disperse();
    }

    /// The entry could not be made. With a `stale` one to use instead, those who wait get that, and so does who comes
    /// before the next attempt has succeeded; otherwise those who wait all try at once.
    pub(crate) fn failed(mut self, stale: Option<&Usable>) {
        let Some(mut turn) = self.turn.take() else {
            return;
        };
        let Some(stale) = stale else {
            turn.leave(Remains::Failed, REMAINS);
            return turn.disperse();
        };
        let pause = turn.store.settings.error_pause;
        turn.store.failures.note(turn.slot.digest(), pause);
        turn.leave(Remains::Failed, pause);
        if let Some(seat) = turn.seat.take() {
            let Usable { entry, seen, .. } = stale.clone();
            seat.land(Held { entry, seen }, self.started).end();
        }
    }
}

impl Life {
    /// Of what is made now with what `lead` has taken note of.
    pub(crate) fn of(lead: &Lead, lifetime: Duration) -> Self {
        Self {
            born_ms: unix_millis(),
            lifetime_ms: u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX),
            cost_ms: lead.cost_ms(),
            seq: lead.seq(),
            ..Self::default()
        }
    }
}

impl Turn {
    fn land(&mut self, blob: &Bytes, began: Instant) -> Option<Place> {
        let seat = self.seat.take()?;
        let entry = Entry::decode(blob.clone(), self.slot.digest())?;
        let held = Held {
            entry: Arc::new(entry),
            seen: Seen::Mark(blob.slice(..blob.len().min(MARK))),
        };
        Some(seat.land(held, began))
    }

    /// Tells other processes why there is nothing.
    fn leave(&mut self, remains: Remains, ttl: Duration) {
        if let Some(lease) = self.lease.take() {
            release::leave(&self.store, &self.slot, lease, remains, ttl);
        }
    }

    /// Has those who wait in this process go on without one another.
    fn disperse(&mut self) {
        if let Some(seat) = self.seat.take() {
            seat.fail(self.seen.clone());
        }
    }

    async fn store(mut self, blob: Bytes, ttl: Duration, place: Option<Place>) {
        let lease = self.lease.take();
        let beside = lease.as_ref().filter(|lease| lease.is_beside());
        let beside = beside.map(Lease::blob);
        let remote = &self.store.remote;
        let filled = remote.fill(&self.slot, &self.seen, blob, ttl, beside).await;
        let is_used_up = filled.is_ok() && matches!(self.seen, Seen::Mark(_));
        match filled {
            // What was read meanwhile was the old one.
            Ok(true) => self.store.forget_near(self.slot.digest()),
            Ok(false) => {
                tracing::debug!(target: "tower_fred::store", "an entry was purged or replaced while it was made");
            }
            Err(error) => {
                tracing::debug!(target: "tower_fred::store", %error, "an entry was not stored");
            }
        }
        // The fill ended it only where it found what it was for.
        if let Some(lease) = lease.filter(|_| !is_used_up) {
            give_back(&self.store, &self.slot, lease);
        }
        // Not before: who comes from now on asks Redis, and finds it there.
        if let Some(place) = place {
            place.end();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        match self.renewal.take() {
            // Who renews and does not end it is not to be followed by the next one at once, as there is something to use.
            Some(renewal) => release::keep(&self.store, &self.slot, lease, renewal),
            None => give_back(&self.store, &self.slot, lease),
        }
    }
}

/// For how long it is told that a load failed, or was not to be stored: longer than who waits takes to look again.
const REMAINS: Duration = Duration::from_millis(250);

impl fmt::Debug for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead").finish_non_exhaustive()
    }
}
