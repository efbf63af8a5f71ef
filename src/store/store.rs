//! The byte store: looking up, and making what is not there.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::{time::timeout, try_join};

use super::{
    entry::Entry,
    flight::{Boarding, Flights, Landing, Seat},
    key::Digest,
    lead::{Lead, Lease},
    life::{Life, Seq, Tag},
    log::{Log, RECENT},
    near::{Held, Near},
    purges::{Mode, Verdict},
    remote::{Remote, Seen, Sight, Slot},
    settings::Settings,
    state::{State, judge},
    tasks::{Refusals, Renewals, Tasks},
};
use crate::{error::Error, redis::Redis};

/// Entries of one namespace, with a near tier and flights of its own. Clones share everything.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
    /// Beside the rest, so that a task that holds the rest does not hold itself.
    tasks: Arc<Tasks>,
}

pub(super) struct Inner {
    pub(super) remote: Remote,
    pub(super) log: Arc<Log>,
    pub(super) near: Option<Near>,
    pub(super) flights: Flights,
    pub(super) refusals: Refusals,
    pub(super) settings: Settings,
    renewals: Renewals,
    /// How many milliseconds it took lately to make an entry, plus one; 0 before the first.
    cost: AtomicU64,
}

/// What a lookup found.
#[derive(Debug)]
pub(crate) struct Found {
    /// An entry that may be used, in the way that its state says.
    pub(crate) usable: Option<Usable>,
    /// What is there, usable or not, for [`Store::begin`].
    #[allow(dead_code, reason = "a memo looks only where it begins")]
    pub(crate) seen: Seen,
}

/// An entry that may be used.
#[derive(Clone, Debug)]
pub(crate) struct Usable {
    pub(crate) entry: Arc<Entry>,
    pub(crate) state: State,
    pub(crate) seen: Seen,
}

/// What the caller of [`Store::begin`] is to do.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Make the entry.
    Lead(Lead),
    /// Use one that somebody else has made, or is making anew.
    Follow(Usable),
}

impl Store {
    pub(crate) fn new(redis: &Redis, settings: Settings) -> Self {
        Self {
            inner: Arc::new(Inner {
                remote: Remote::new(redis.clone()),
                log: Log::of(redis),
                near: settings.near.map(Near::new),
                flights: Flights::default(),
                refusals: Refusals::default(),
                settings,
                renewals: Renewals::default(),
                cost: AtomicU64::new(0),
            }),
            tasks: Arc::default(),
        }
    }

    /// Where entries are, and raw access to them.
    pub(crate) fn remote(&self) -> &Remote {
        &self.inner.remote
    }

    /// What is in a slot, if it may be used: from this process, or with one command.
    pub(crate) async fn lookup(&self, slot: &Slot) -> Result<Found, Error> {
        self.inner.lookup(slot).await
    }

    /// Takes part in making what is in a slot: as its maker, or by waiting for who makes it.
    ///
    /// `seen` is what a lookup has just seen there; without it this looks first, for all who come at the same time. One
    /// who waits too long, or for what turned out not to be storable a moment ago, makes it for himself.
    pub(crate) async fn begin(&self, slot: &Slot, seen: Option<Seen>) -> Turn {
        self.inner.begin(slot, seen).await
    }

    /// The right to make anew what is there and still usable; `None` when another caller or process has it.
    pub(crate) async fn renew(&self, slot: &Slot, usable: &Usable) -> Option<Lead> {
        self.inner.renew(slot, usable).await
    }

    /// The same for a task of this store, which must not hold it.
    pub(crate) fn renewal(
        &self,
        slot: Slot,
        usable: Usable,
    ) -> impl Future<Output = Option<(Lead, Slot)>> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        async move {
            let lead = inner.renew(&slot, &usable).await?;
            Some((lead, slot))
        }
    }

    /// The right to make an entry for oneself, which is not stored.
    pub(crate) fn alone(&self, slot: &Slot) -> Lead {
        Lead::alone(&self.inner, slot, Seen::Unknown)
    }

    /// The right to make an entry that nobody waits for, in the place of what was `seen`.
    pub(crate) fn aside(&self, slot: &Slot, seen: Seen) -> Lead {
        Lead::alone(&self.inner, slot, seen)
    }

    /// Puts an entry in the place of what there is, and takes that out of use on every node; `make` is told what is known
    /// of the purge log.
    pub(crate) async fn replace(
        &self,
        slot: &Slot,
        make: impl FnOnce(Seq) -> (Bytes, Duration),
    ) -> Result<(), Error> {
        let seq = self.inner.log.purge(Mode::Hard, vec![slot.group()]).await?;
        let (blob, ttl) = make(seq);
        self.inner.remote.set(slot, blob, ttl).await
    }

    /// Takes everything that has one of these tags out of use on every node.
    pub(crate) async fn purge(&self, tags: Vec<Tag>) -> Result<(), Error> {
        self.inner.log.purge(Mode::Hard, tags).await?;
        Ok(())
    }

    /// Takes what is in a slot out of use on every node; whether there was something.
    pub(crate) async fn remove(&self, slot: &Slot) -> Result<bool, Error> {
        // The record is what counts; deleting gives back the memory at once, and tells.
        let record = self.inner.log.purge(Mode::Hard, vec![slot.group()]);
        let (_, was_there) = try_join!(record, self.inner.remote.delete(slot))?;
        Ok(was_there)
    }

    /// Deletes an entry that turned out to be of no use to its reader.
    pub(crate) async fn discard(&self, slot: &Slot, usable: &Usable) -> Result<(), Error> {
        if let Some(near) = &self.inner.near {
            near.remove(slot.digest());
        }
        self.inner.remote.discard(slot, &usable.seen).await
    }

    /// Runs `task` in the background, until the last clone of this store is gone; whether there was room for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        self.tasks.spawn(task)
    }
}

impl Inner {
    async fn lookup(&self, slot: &Slot) -> Result<Found, Error> {
        if let Some(usable) = self.look_here(slot).await {
            return Ok(Found {
                seen: usable.seen.clone(),
                usable: Some(usable),
            });
        }
        let sight = self.knowing(self.remote.get(slot)).await?;
        let seen = sight.seen.clone();
        let usable = self.admit(slot, sight);
        Ok(Found { usable, seen })
    }

    /// What this process has, if it may be used.
    async fn look_here(&self, slot: &Slot) -> Option<Usable> {
        // Else a caller that always finds something would have the thread for itself.
        tokio::task::coop::consume_budget().await;
        let is_known = self.log.is_known(RECENT);
        let held = self.held(slot.digest())?;
        let is_known = is_known
            || self.log.catch_up().await.is_ok()
            || self.log.is_known(self.settings.serve_for);
        if !is_known {
            return None;
        }
        let usable = self.usable(slot, held);
        if let (Some(near), None) = (&self.near, &usable) {
            near.remove(slot.digest());
        }
        // One that is stale here may have been made anew elsewhere.
        usable.filter(|usable| usable.state <= State::Early)
    }

    /// What this process has, of its own or about to be stored.
    fn held(&self, digest: &Digest) -> Option<Held> {
        let near = self.near.as_ref().and_then(|near| near.get(digest));
        near.or_else(|| self.flights.landed(digest))
    }

    /// Waits for `look`, and in the same time for what there is to know of purges.
    async fn knowing<T>(&self, look: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        if self.log.is_known(RECENT) {
            return look.await;
        }
        let (found, ()) = try_join!(look, self.log.catch_up())?;
        Ok(found)
    }

    /// An entry that was read, if it may be used.
    fn admit(&self, slot: &Slot, sight: Sight) -> Option<Usable> {
        let Sight { entry, blob, seen } = sight;
        let entry = Arc::new(entry?);
        let usable = self.usable(slot, Held { entry, seen })?;
        if let (Some(near), State::Fresh) = (&self.near, usable.state) {
            near.offer(slot.digest(), &blob, &usable.seen);
        }
        Some(usable)
    }

    fn usable(&self, slot: &Slot, held: Held) -> Option<Usable> {
        let state = self.state(slot, &held.entry)?;
        let Held { entry, seen } = held;
        Some(Usable { entry, state, seen })
    }

    fn state(&self, slot: &Slot, entry: &Entry) -> Option<State> {
        let tags = entry.life().map_or(&[][..], |life| &life.tags);
        let tags = tags.iter().copied().chain([slot.group()]);
        let verdict = self.log.judge(entry.seq(), tags);
        match entry.life() {
            Some(life) => judge(life, verdict, unix_millis(), self.luck()),
            // Soft purges are for the answers, not for what leads to them.
            None if matches!(entry, Entry::Lease) || verdict == Verdict::Gone => None,
            None => Some(State::Fresh),
        }
    }

    /// A random number for [`judge`].
    fn luck(&self) -> f64 {
        if self.settings.eagerness == 0.0 {
            return 0.0;
        }
        -self.settings.eagerness * chance().ln()
    }

    async fn begin(self: &Arc<Self>, slot: &Slot, mut seen: Option<Seen>) -> Turn {
        if seen.is_none() {
            if let Some(usable) = self.look_here(slot).await {
                return Turn::Follow(usable);
            }
        }
        if self.refusals.has(slot.digest(), Instant::now()) {
            return Turn::Lead(Lead::alone(self, slot, seen.unwrap_or(Seen::Nothing)));
        }
        let is_late = |seq| self.is_purged(seq, slot.group());
        let usable = |held: &Held| self.state(slot, &held.entry).is_some();
        for _ in 0..FLIGHTS {
            let joined = Instant::now();
            let now = self.log.seq();
            let boarding = self.flights.join(*slot.digest(), now, is_late, usable);
            match timeout(self.settings.wait, boarding).await {
                Err(_) => break,
                Ok(Boarding::Lead(seat)) => return self.lead(slot, seen, seat).await,
                Ok(Boarding::Follow(Landing { held, began })) => {
                    let is_known = self.knowing(async { Ok(()) }).await.is_ok();
                    let state = self.state(slot, &held.entry);
                    // What cannot be judged is for those who came before it was begun; the others take the next flight.
                    if let (Some(state), true) = (state, is_known || began >= joined) {
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
        match self.claim(slot, seen).await {
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
            Err(error) => {
                tracing::debug!(target: "tower_fred::store", %error, "nothing can be looked up");
                Turn::Lead(Lead::alone(self, slot, Seen::Unknown).seated(seat))
            }
        }
    }

    fn is_purged(&self, seq: Seq, group: Tag) -> bool {
        // Before the first look nothing is known, of which nothing follows.
        self.log.seq() != Seq::default() && self.log.judge(seq, [group]) == Verdict::Gone
    }

    /// Looks for what others have made or are making, and takes the lease for making it when there is nothing.
    async fn claim(&self, slot: &Slot, seen: Option<Seen>) -> Result<Claim, Error> {
        let lease = match self.wants_lease() {
            true => Lease::new(slot.digest())?,
            false => return self.claim_here(slot, seen).await,
        };
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let ttl = self.settings.wait;
            let look = self.remote.get_or_lease(slot, lease.blob(), ttl);
            let (sight, ours) = self.knowing(look).await?;
            if ours {
                return Ok(Claim::ours(sight.seen, Some(lease), None));
            }
            let is_leased = matches!(sight.entry, Some(Entry::Lease));
            let seen = sight.seen.clone();
            let stale = match self.admit(slot, sight) {
                Some(usable) if usable.state <= State::WhileRevalidate => {
                    return Ok(Claim::Found(usable));
                }
                stale => stale,
            };
            if !is_leased {
                // In one write: what was there when the lease was taken is known for sure.
                let beside = self.remote.lease_beside(slot, lease.blob(), ttl);
                let (taken, sight) = try_join!(beside, self.remote.get(slot))?;
                let lease = lease.clone().beside();
                match (taken, self.admit(slot, sight)) {
                    (taken, Some(usable)) if usable.state <= State::WhileRevalidate => {
                        if taken {
                            self.remote.release(slot, lease.blob(), true).await?;
                        }
                        return Ok(Claim::Found(usable));
                    }
                    (true, _) => return Ok(Claim::ours(seen, Some(lease), stale)),
                    (false, _) => {}
                }
            }
            if started.elapsed() + pause > self.settings.wait {
                return Ok(Claim::ours(seen, None, stale));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// The same without a lease.
    async fn claim_here(&self, slot: &Slot, seen: Option<Seen>) -> Result<Claim, Error> {
        if let Some(seen) = seen {
            self.knowing(async { Ok(()) }).await?;
            return Ok(Claim::ours(seen, None, None));
        }
        let sight = self.knowing(self.remote.get(slot)).await?;
        let seen = sight.seen.clone();
        Ok(match self.admit(slot, sight) {
            Some(usable) if usable.state <= State::WhileRevalidate => Claim::Found(usable),
            stale => Claim::ours(seen, None, stale),
        })
    }

    async fn renew(self: &Arc<Self>, slot: &Slot, usable: &Usable) -> Option<Lead> {
        let renewal = self.renewals.begin(slot.digest())?;
        let lease = Lease::new(slot.digest()).ok()?.beside();
        let ttl = self.settings.wait;
        let taken = self.remote.lease_beside(slot, lease.blob(), ttl).await;
        if !matches!(taken, Ok(true)) {
            return None;
        }
        let seen = usable.seen.clone();
        let lead = Lead::new(self, slot, seen, Some(lease), Some(usable.clone()));
        Some(lead.renewing(renewal))
    }

    /// Whether what is made takes long enough for other processes to wait for it.
    fn wants_lease(&self) -> bool {
        match self.cost.load(Ordering::Relaxed) {
            0 => true,
            cost => u128::from(cost) > self.settings.lease_above.as_millis(),
        }
    }

    /// Takes note of how long it took to make an entry.
    pub(super) fn note_cost(&self, cost_ms: u64) {
        let new = cost_ms.saturating_add(1);
        let cost = match self.cost.load(Ordering::Relaxed) {
            0 => new,
            old => old.saturating_mul(3).saturating_add(new).div_ceil(4),
        };
        self.cost.store(cost, Ordering::Relaxed);
    }
}

/// The outcome of [`Inner::claim`].
enum Claim {
    Found(Usable),
    Ours {
        seen: Seen,
        lease: Option<Lease>,
        stale: Option<Usable>,
    },
}

impl Claim {
    fn ours(seen: Seen, lease: Option<Lease>, stale: Option<Usable>) -> Self {
        Self::Ours { seen, lease, stale }
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

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("settings", &self.inner.settings)
            .field("near", &self.inner.near)
            .finish_non_exhaustive()
    }
}

pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A random number above zero, up to one.
pub(crate) fn chance() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let number = RandomState::new().hash_one(0) >> 32;
    (number + 1) as f64 / (1u64 << 32) as f64
}

/// How many flights are waited for that turn out to be too late.
const FLIGHTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(50);
