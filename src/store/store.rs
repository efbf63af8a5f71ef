//! The byte store: looking up, and making what is not there.

use std::{
    fmt,
    future::Future,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::try_join;

use super::{
    entry::Entry,
    flight::Flights,
    key::Digest,
    lead::Lead,
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
    pub(super) renewals: Renewals,
    /// How many milliseconds it took lately to make an entry, plus one; 0 before the first.
    pub(super) cost: AtomicU64,
}

/// What a lookup found.
#[derive(Debug)]
pub(crate) struct Found {
    /// An entry that may be used, in the way that its state says.
    pub(crate) usable: Option<Usable>,
    /// What is there, usable or not, for [`Store::begin`].
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

    /// What is in a slot, if this process has it, knows that it holds, and it is surely not time to make it anew.
    pub(crate) fn peek(&self, slot: &Slot) -> Option<Arc<Entry>> {
        self.inner.peek(slot)
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

    fn peek(&self, slot: &Slot) -> Option<Arc<Entry>> {
        let near = self.near.as_ref()?;
        if !self.log.is_known(RECENT) {
            return None;
        }
        let Held { entry, .. } = near.get(slot.digest())?;
        // Nobody has more luck. Who might have enough of it tries it when looking further.
        let state = self.state(slot, &entry, || self.settings.eagerness * MOST_LUCK)?;
        (state == State::Fresh).then_some(entry)
    }

    /// What this process has, if it may be used.
    pub(super) async fn look_here(&self, slot: &Slot) -> Option<Usable> {
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
    pub(super) async fn knowing<T>(
        &self,
        look: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if self.log.is_known(RECENT) {
            return look.await;
        }
        let (found, ()) = try_join!(look, self.log.catch_up())?;
        Ok(found)
    }

    /// An entry that was read, if it may be used.
    pub(super) fn admit(&self, slot: &Slot, sight: Sight) -> Option<Usable> {
        let Sight { entry, blob, seen } = sight;
        let entry = Arc::new(entry?);
        let usable = self.usable(slot, Held { entry, seen })?;
        if let (Some(near), State::Fresh) = (&self.near, usable.state) {
            near.offer(slot.digest(), &blob, &usable.seen);
        }
        Some(usable)
    }

    fn usable(&self, slot: &Slot, held: Held) -> Option<Usable> {
        let state = self.judge(slot, &held.entry)?;
        let Held { entry, seen } = held;
        Some(Usable { entry, state, seen })
    }

    pub(super) fn judge(&self, slot: &Slot, entry: &Entry) -> Option<State> {
        self.state(slot, entry, || self.luck())
    }

    fn state(&self, slot: &Slot, entry: &Entry, luck: impl FnOnce() -> f64) -> Option<State> {
        let tags = entry.life().map_or(&[][..], |life| &life.tags);
        let tags = tags.iter().copied().chain([slot.group()]);
        let verdict = self.log.judge(entry.seq(), tags);
        match entry.life() {
            Some(life) => judge(life, verdict, unix_millis(), luck()),
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

/// What is more than the negative logarithm of any [`chance`].
const MOST_LUCK: f64 = 23.0;

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
