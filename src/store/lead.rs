//! The right to make an entry, and what comes of it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::{
    entry::{Entry, MARK},
    flight::{Place, Seat},
    key::Digest,
    life::Seq,
    log::token,
    near::Held,
    remote::{Seen, Slot},
    store::{Inner, Usable},
    tasks::Renewal,
    writer::Writer,
};
use crate::error::Error;

/// The right to make the entry of one slot.
///
/// [`fill`](Self::fill) and [`uncacheable`](Self::uncacheable) end it; dropping it hands it over to whoever waits, in this
/// process or another.
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
}

/// What tells other processes that an entry is being made.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    blob: Bytes,
    beside: bool,
}

impl Lease {
    pub(super) fn new(digest: &Digest) -> Result<Self, Error> {
        Ok(Self {
            blob: Writer::lease(&token()?, digest),
            beside: false,
        })
    }

    /// One that is kept beside the slot, for making anew what is in it.
    pub(super) fn beside(mut self) -> Self {
        self.beside = true;
        self
    }

    pub(super) fn blob(&self) -> &Bytes {
        &self.blob
    }
}

impl Lead {
    pub(super) fn new(
        store: &Arc<Inner>,
        slot: &Slot,
        seen: Seen,
        lease: Option<Lease>,
        stale: Option<Usable>,
    ) -> Self {
        Self {
            turn: Some(Box::new(Turn {
                store: Arc::clone(store),
                slot: slot.clone(),
                seen,
                lease,
                stale,
                seat: None,
                renewal: None,
            })),
            started: Instant::now(),
            // What is purged from now on beats what is made.
            seq: store.log.seq(),
        }
    }

    /// One that nobody waits for.
    pub(super) fn alone(store: &Arc<Inner>, slot: &Slot, seen: Seen) -> Self {
        Self::new(store, slot, seen, None, None)
    }

    pub(super) fn seated(mut self, seat: Seat) -> Self {
        if let Some(turn) = &mut self.turn {
            turn.seat = Some(seat);
        }
        self
    }

    pub(super) fn renewing(mut self, renewal: Renewal) -> Self {
        if let Some(turn) = &mut self.turn {
            turn.renewal = Some(renewal);
        }
        self
    }

    /// What was known of the purge log before the entry was made.
    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    /// Notes a sign of life: whoever makes the entry makes progress. Cheap, to be called with each frame or poll.
    #[allow(clippy::unused_self, reason = "a place for it")]
    pub(crate) fn progress(&self) {}

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
        turn.store.note_cost(self.cost_ms());
        turn.store.refusals.forget(turn.slot.digest());
        // What this process has is not the newest any more.
        turn.store.forget_near(turn.slot.digest());
        let place = turn.land(&blob, self.started);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(turn.store(blob, ttl, place));
        }
    }

    /// What was made is not to be stored: those who wait make it for themselves, and for a moment nobody waits.
    pub(crate) fn uncacheable(self) {
        if let Some(turn) = &self.turn {
            turn.store.note_cost(self.cost_ms());
            turn.store.refusals.note(turn.slot.digest(), Instant::now());
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

    async fn store(mut self, blob: Bytes, ttl: Duration, place: Option<Place>) {
        let lease = self.lease.take();
        let beside = lease.as_ref().filter(|lease| lease.beside);
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
            give_back(&self.store, &self.slot, lease, Duration::ZERO, None);
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
        // Who renews and fails is not to be followed by the next one at once, as there is something to use.
        let renewal = self.renewal.take();
        let pause = renewal.as_ref().map_or(Duration::ZERO, |_| RETRY);
        give_back(&self.store, &self.slot, lease, pause, renewal);
    }
}

/// A lease that was asked for: it may be ours before we know. Given back when whoever asked is cancelled.
pub(super) struct Asking<'a> {
    store: &'a Arc<Inner>,
    slot: &'a Slot,
    lease: Option<Lease>,
}

impl<'a> Asking<'a> {
    pub(super) fn new(store: &'a Arc<Inner>, slot: &'a Slot, lease: &Lease) -> Self {
        Self {
            store,
            slot,
            lease: Some(lease.clone()),
        }
    }

    /// It is known whose it is.
    pub(super) fn end(mut self) {
        self.lease = None;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            give_back(self.store, self.slot, lease, Duration::ZERO, None);
        }
    }
}

/// In the background, after a pause.
fn give_back(
    store: &Arc<Inner>,
    slot: &Slot,
    lease: Lease,
    pause: Duration,
    renewal: Option<Renewal>,
) {
    let (store, slot) = (Arc::clone(store), slot.clone());
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            drop(renewal);
            let released = store.remote.release(&slot, &lease.blob, lease.beside);
            if let Err(error) = released.await {
                // It ends by itself.
                tracing::debug!(target: "tower_fred::store", %error, "a lease was not given back");
            }
        });
    }
}

/// How long nobody else renews what one has failed to.
const RETRY: Duration = Duration::from_secs(1);

impl fmt::Debug for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead").finish_non_exhaustive()
    }
}
