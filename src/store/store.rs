//! The byte store: looking up, and making what is not there.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::{sync::Semaphore, try_join};

use super::{
    entry::{
        decode::Entry,
        life::{Life, Seq, Tag},
        state::State,
    },
    flight::{
        failures::Failures,
        flights::Flights,
        tasks::{Refusals, Renewals, Tasks},
    },
    history::purges::Mode,
    leader::lead::Lead,
    purge_log::log::Log,
    tiers::{
        near::Near,
        recheck::MOST_RECHECKS,
        remote::{Remote, Seen, Slot},
        settings::Settings,
    },
};
use crate::{error::Error, redis::Redis};

/// Entries of one namespace, with a near tier and flights of its own. Clones share everything.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) inner: Arc<Inner>,
    /// Beside the rest, so that a task that holds the rest does not hold itself.
    pub(crate) tasks: Arc<Tasks>,
}

pub(crate) struct Inner {
    pub(crate) remote: Remote,
    pub(crate) log: Arc<Log>,
    pub(crate) near: Option<Near>,
    /// How many copies may be compared with Redis at once.
    pub(crate) rechecks: Arc<Semaphore>,
    pub(crate) flights: Flights,
    pub(crate) refusals: Refusals,
    pub(crate) failures: Failures,
    pub(crate) settings: Settings,
    pub(crate) renewals: Renewals,
    /// How many milliseconds it took lately to make an entry, plus one; 0 before the first.
    pub(crate) cost: AtomicU64,
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
        let tasks = Tasks::new(settings.refreshes);
        Self {
            inner: Arc::new(Inner {
                remote: Remote::new(redis.clone()),
                log: Log::of(redis),
                near: settings.near.map(Near::new),
                rechecks: Arc::new(Semaphore::new(MOST_RECHECKS)),
                flights: Flights::default(),
                refusals: Refusals::default(),
                failures: Failures::default(),
                settings,
                renewals: Renewals::default(),
                cost: AtomicU64::new(0),
            }),
            tasks: Arc::new(tasks),
        }
    }

    /// The same for a task of this store, which must not hold what ends it.
    pub(crate) fn without_tasks(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            tasks: Arc::new(Tasks::new(1)),
        }
    }

    /// Where entries are, and raw access to them.
    pub(crate) fn remote(&self) -> &Remote {
        &self.inner.remote
    }

    /// What is in a slot, if this process has it, knows that it holds, and it is surely not time to make it anew.
    pub(crate) fn peek(&self, slot: &Slot, now_ms: u64) -> Option<Arc<Entry>> {
        self.inner.peek(slot, now_ms)
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

    /// Whether the last attempt to make what is in a slot failed.
    pub(crate) fn is_failing(&self, slot: &Slot) -> bool {
        self.inner.failures.has(slot.digest())
    }

    /// The right to make an entry that nobody waits for, in the place of one that may be used if that fails.
    pub(crate) fn instead(&self, slot: &Slot, stale: Usable) -> Lead {
        Lead::new(&self.inner, slot, stale.seen.clone(), None, Some(stale))
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
        self.inner.refusals.forget(slot.digest());
        self.inner.remote.set(slot, blob, ttl).await
    }

    /// Takes every response that has one of these tags out of use on every node, as an unsafe request asks for.
    pub(crate) async fn purge(&self, tags: Vec<Tag>) -> Result<(), Error> {
        if tags.is_empty() {
            return Ok(());
        }
        self.inner.log.purge(Mode::Outdated, tags).await?;
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
        self.inner.forget_near(slot.digest());
        self.inner.remote.discard(slot, &usable.seen).await
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
