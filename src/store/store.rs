//! The byte store: looking up, and making what is not there.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{time::timeout, try_join};

use super::{
    entry::{
        decode::Entry,
        log_position::Seq,
        slot::{Seen, Slot},
        tag::Tag,
    },
    flight::background::Tasks,
    history::record::Mode,
    leader::{lead::Lead, turn::Turn},
    tiers::{
        budget::Budget,
        inner::Inner,
        lookup::{Found, Usable},
        remote::Remote,
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

impl Store {
    pub(crate) fn new(redis: &Redis, settings: Settings) -> Self {
        let tasks = Tasks::new(settings.refreshes);
        Self {
            inner: Arc::new(Inner::new(redis, settings)),
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

    /// The time that a request which begins now has for the calls below.
    pub(crate) fn budget(&self) -> Budget {
        self.inner.budget()
    }

    /// What is in a slot, if it may be used: from this process, or with one command.
    pub(crate) async fn lookup(&self, slot: &Slot, budget: Budget) -> Result<Found, Error> {
        self.inner.lookup(slot, budget).await
    }

    /// Takes part in making what is in a slot: as its maker, or by waiting for who makes it.
    ///
    /// `seen` is what a lookup has just seen there; without it this looks first, for all who come at the same time. One
    /// who waits too long, or for what turned out not to be storable a moment ago, makes it for himself.
    pub(crate) async fn begin(&self, slot: &Slot, seen: Option<Seen>, budget: &mut Budget) -> Turn {
        self.inner.begin(slot, seen, budget).await
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

    /// The right to make anew what is there and still usable; `None` when another caller or process has it, or the last
    /// one failed a moment ago.
    pub(crate) async fn renew(&self, slot: &Slot, usable: &Usable, budget: Budget) -> Option<Lead> {
        let renewal = self.inner.begin_renewal(slot)?;
        let renewed = async { Ok(self.inner.renew(slot, usable, renewal).await) };
        budget.limit(renewed).await.ok()?
    }

    /// Makes it anew in the background with what `make` gives, which is called when it is its turn and there is still a
    /// need. It ends with the last clone of this store, or when it takes too long.
    ///
    /// There is one at a time for each key, waiting or running; when too many wait, this one is left out.
    pub(crate) fn refresh<F, Fut>(&self, slot: Slot, usable: Usable, make: F)
    where
        F: FnOnce(Lead, Slot) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let Some(renewal) = self.inner.begin_renewal(&slot) else {
            return;
        };
        let inner = Arc::clone(&self.inner);
        let limit = inner.settings.refresh_limit;
        self.tasks.spawn(async move {
            let refreshed = async {
                if let Some(lead) = inner.renew(&slot, &usable, renewal).await {
                    make(lead, slot).await;
                }
            };
            if timeout(limit, refreshed).await.is_err() {
                tracing::debug!(target: "tower_fred::store", "a stale entry was not made anew in time");
            }
        });
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
        self.inner.log.purge(Mode::Invalidate, tags).await?;
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

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("settings", &self.inner.settings)
            .field("near", &self.inner.near)
            .finish_non_exhaustive()
    }
}
