//! The store: its operations for the response cache and the memo.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{time::timeout, try_join};

use super::{
    entry::{
        log_position::Seq,
        slot::{Seen, Slot},
        tag::Tag,
    },
    flight::background::Tasks,
    history::record::Mode,
    leader::{lead::Lead, turn::Turn},
    tiers::{
        inner::Inner,
        lookup::{Found, Usable},
        near::Kept,
        remote::Remote,
        settings::Settings,
    },
};
use crate::{
    error::Error,
    redis::{Budget, Redis},
};

/// The entries of one namespace, with a near tier and flights of its own. Clones share everything.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) inner: Arc<Inner>,
    /// Not in `inner`: a task holds `inner`, and must not keep itself alive.
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

    /// The same for a task of this store, without the tasks: a task must not keep itself alive.
    pub(crate) fn without_tasks(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            tasks: Arc::new(Tasks::new(1)),
        }
    }

    /// The remote tier.
    pub(crate) fn remote(&self) -> &Remote {
        &self.inner.remote
    }

    /// The entry in a slot, if it is in this process and known to be fresh, and it is certainly not time to make it anew.
    pub(crate) fn peek(&self, slot: &Slot, now_ms: u64) -> Option<Arc<Kept>> {
        self.inner.peek(slot, now_ms)
    }

    /// The time for which a request that begins now waits for Redis in the calls below.
    pub(crate) fn budget(&self) -> Budget {
        self.inner.budget()
    }

    /// The entry in a slot, if it may be used: from this process, or with one command.
    pub(crate) async fn lookup(&self, slot: &Slot, budget: Budget) -> Result<Found, Error> {
        self.inner.lookup(slot, budget).await
    }

    /// Elects one caller to make the entry in a slot; the others wait for it.
    ///
    /// `seen` is what a lookup has just seen there. Without it, the elected caller looks first, for all. A caller makes the
    /// entry for itself when it has waited too long, or when the entry turned out not to be storable a moment ago.
    pub(crate) async fn begin(&self, slot: &Slot, seen: Option<Seen>, budget: &mut Budget) -> Turn {
        self.inner.begin(slot, seen, budget).await
    }

    /// Whether the last attempt to make the entry in a slot failed.
    pub(crate) fn is_failing(&self, slot: &Slot) -> bool {
        self.inner.failures.has(slot.digest())
    }

    /// The right to make an entry that nobody waits for, in the place of a `stale` one that may be used if that fails.
    pub(crate) fn instead(&self, slot: &Slot, stale: Usable) -> Lead {
        Lead::new(&self.inner, slot, stale.seen.clone(), None, Some(stale))
    }

    /// The right to make an entry that is not stored.
    pub(crate) fn alone(&self, slot: &Slot) -> Lead {
        Lead::alone(&self.inner, slot, Seen::Unknown)
    }

    /// The right to make an entry that nobody waits for, in the place of what was `seen`.
    pub(crate) fn aside(&self, slot: &Slot, seen: Seen) -> Lead {
        Lead::alone(&self.inner, slot, seen)
    }

    /// The right to make an entry anew that is still `usable`; `None` when another caller or process has it, or the last
    /// attempt failed a moment ago.
    pub(crate) async fn renew(&self, slot: &Slot, usable: &Usable, budget: Budget) -> Option<Lead> {
        let renewal = self.inner.begin_renewal(slot)?;
        let renewed = async { Ok(self.inner.renew(slot, usable, renewal).await) };
        budget.limit(renewed).await.ok()?
    }

    /// Makes an entry anew in the background. `make` is called when it is its turn, unless the entry was made anew
    /// meanwhile. The task is aborted with the last clone of this store, or when it takes too long.
    ///
    /// There is one task at a time for each key, waiting or running. When too many wait, this one is left out.
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

    /// Purges what is in a slot on every node, and stores an entry there. `make` gets the place of that purge in the log.
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

    /// Invalidates every response that has one of these tags, on every node, as an unsafe request asks for.
    pub(crate) async fn purge(&self, tags: Vec<Tag>) -> Result<(), Error> {
        if tags.is_empty() {
            return Ok(());
        }
        self.inner.log.purge(Mode::Invalidate, tags).await?;
        Ok(())
    }

    /// Purges what is in a slot on every node; whether there was something.
    pub(crate) async fn remove(&self, slot: &Slot) -> Result<bool, Error> {
        // The record in the log purges; deleting frees the memory at once, and tells whether there was something.
        let record = self.inner.log.purge(Mode::Hard, vec![slot.group()]);
        let (_, was_there) = try_join!(record, self.inner.remote.delete(slot))?;
        Ok(was_there)
    }

    /// Deletes an entry that its reader cannot use.
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
