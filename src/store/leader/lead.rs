//! The right to make an entry, and the ways in which it ends.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::{
    keepalive::KeepAlive,
    progress::Progress,
    release::{self, give_back},
};
use crate::store::{
    entry::{
        decode::{Entry, MARK},
        lifetime::Life,
        log_position::Seq,
        slot::{Held, Seen, Slot},
    },
    flight::{
        flights::{Leadership, Membership},
        renewals::Renewal,
    },
    purge_log::clock::unix_millis,
    tiers::{
        inner::Inner,
        lease::{Lease, LeaseEnd},
        lookup::Usable,
    },
};

/// The right to make the entry of one slot.
///
/// [`fill`](Self::fill), [`uncacheable`](Self::uncacheable) and [`failed`](Self::failed) end it. When it is dropped before,
/// or makes no [progress](Self::progress) for a second, a caller that waits takes over, in this process or another.
pub(crate) struct Lead {
    pending: Option<Box<Pending>>,
    started: Instant,
    seq: Seq,
}

/// What a lead holds until it ends.
struct Pending {
    store: Arc<Inner>,
    slot: Slot,
    seen: Seen,
    lease: Option<Lease>,
    stale: Option<Usable>,
    leadership: Option<Leadership>,
    renewal: Option<Renewal>,
    watch: Progress,
}

impl Lead {
    pub(crate) fn new(
        store: &Arc<Inner>,
        slot: &Slot,
        seen: Seen,
        lease: Option<Lease>,
        stale: Option<Usable>,
    ) -> Self {
        let keepalive = lease
            .as_ref()
            .map(|lease| KeepAlive::new(store, slot, lease));
        let watch = Progress {
            heartbeat: None,
            keepalive: keepalive.map(Arc::new),
        };
        Self {
            pending: Some(Box::new(Pending {
                store: Arc::clone(store),
                slot: slot.clone(),
                seen,
                lease,
                stale,
                leadership: None,
                renewal: None,
                watch,
            })),
            started: Instant::now(),
            // Purges from now on apply to the entry.
            seq: store.log.seq(),
        }
    }

    /// A lead that nobody waits for.
    pub(crate) fn alone(store: &Arc<Inner>, slot: &Slot, seen: Seen) -> Self {
        Self::new(store, slot, seen, None, None)
    }

    /// The same, with the leadership of the flight whose members wait for it.
    pub(crate) fn with_leadership(mut self, leadership: Leadership) -> Self {
        if let Some(pending) = &mut self.pending {
            pending.watch.heartbeat = Some(Arc::clone(leadership.heartbeat()));
            pending.leadership = Some(leadership);
        }
        self
    }

    /// The same, for making an entry anew.
    pub(crate) fn renewing(mut self, renewal: Renewal) -> Self {
        if let Some(pending) = &mut self.pending {
            pending.renewal = Some(renewal);
        }
        self
    }

    /// Notes that making the entry goes on. Others wait no longer than a second for a lead that does not note this.
    pub(crate) fn progress(&self) {
        if let Some(pending) = &self.pending {
            pending.watch.note();
        }
    }

    /// Notes the same while a future runs, see [`Progress::during`].
    pub(crate) fn watch(&self) -> Progress {
        let pending = self.pending.as_ref();
        pending.map_or_else(Progress::default, |pending| pending.watch.clone())
    }

    /// The place in the purge log that was known before the entry was made.
    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    /// Whether [`fill`](Self::fill) will store the entry, as far as is known: it is known what is in the slot, there is a
    /// runtime to write in, and Redis stored the last entry that was sent.
    pub(crate) fn can_store(&self) -> bool {
        let is_ours = |pending: &Pending| {
            !matches!(pending.seen, Seen::Unknown) && pending.store.remote.takes_writes()
        };
        self.pending.as_deref().is_some_and(is_ours) && Handle::try_current().is_ok()
    }

    /// How long the entry has been in the making.
    pub(crate) fn cost_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The entry that is there, to be validated, or to be used if no new one can be made.
    pub(crate) fn stale(&self) -> Option<&Usable> {
        self.pending.as_ref()?.stale.as_ref()
    }

    /// Gives the entry to all who wait, and stores it in the background, unless what was in the slot changed meanwhile.
    pub(crate) fn fill(mut self, blob: Bytes, ttl: Duration) {
        let Some(mut pending) = self.pending.take() else {
            return;
        };
        pending.store.cost.note(self.cost_ms());
        pending.store.refusals.forget(pending.slot.digest());
        pending.store.failures.forget(pending.slot.digest());
        // The near copy is out of date.
        pending.store.forget_near(pending.slot.digest());
        let membership = pending.share(&blob, self.started);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(pending.store(blob, ttl, membership));
        }
    }

    /// What was made must not be stored. Those who wait make it for themselves, and for two seconds nobody waits.
    pub(crate) fn uncacheable(mut self) {
        let Some(mut pending) = self.pending.take() else {
            return;
        };
        pending.store.cost.note(self.cost_ms());
        pending
            .store
            .refusals
            .note(pending.slot.digest(), Instant::now());
        pending.leave(LeaseEnd::Refused, TOLD_FOR);
        pending.release_waiters();
    }

    /// The entry could not be made. With a `stale` entry to use instead, those who wait get that one, and so do later
    /// callers until an attempt succeeds. Without one, all who wait try at the same time.
    pub(crate) fn failed(mut self, stale: Option<&Usable>) {
        let Some(mut pending) = self.pending.take() else {
            return;
        };
        let Some(stale) = stale else {
            pending.leave(LeaseEnd::Failed, TOLD_FOR);
            return pending.release_waiters();
        };
        let pause = pending.store.settings.error_pause;
        pending.store.failures.note(pending.slot.digest(), pause);
        pending.leave(LeaseEnd::Failed, pause);
        if let Some(leadership) = pending.leadership.take() {
            let Usable { entry, seen, .. } = stale.clone();
            leadership.share(Held { entry, seen }, self.started).end();
        }
    }
}

impl Life {
    /// The life of an entry that was made just now with `lead`.
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

impl Pending {
    /// Gives the entry to the members of the flight.
    fn share(&mut self, blob: &Bytes, began: Instant) -> Option<Membership> {
        let leadership = self.leadership.take()?;
        let entry = Entry::decode(blob.clone(), self.slot.digest())?;
        let held = Held {
            entry: Arc::new(entry),
            seen: Seen::Mark(blob.slice(..blob.len().min(MARK))),
        };
        Some(leadership.share(held, began))
    }

    /// Tells other processes why there is no entry.
    fn leave(&mut self, end: LeaseEnd, ttl: Duration) {
        if let Some(lease) = self.lease.take() {
            release::leave(&self.store, &self.slot, lease, end, ttl);
        }
    }

    /// Has those who wait in this process make the entry for themselves.
    fn release_waiters(&mut self) {
        if let Some(leadership) = self.leadership.take() {
            leadership.fail(self.seen.clone());
        }
    }

    async fn store(mut self, blob: Bytes, ttl: Duration, membership: Option<Membership>) {
        let until = Instant::now() + ttl;
        let lease = self.lease.take();
        let beside = lease.as_ref().filter(|lease| lease.is_beside());
        let beside = beside.map(Lease::blob);
        let remote = &self.store.remote;
        let kept = blob.clone();
        let filled = remote.fill(&self.slot, &self.seen, blob, ttl, beside);
        let filled = filled.await;
        let is_used_up = filled.is_ok() && matches!(self.seen, Seen::Mark(_));
        match filled {
            // A near copy that was admitted meanwhile is the old entry.
            Ok(true) => self.store.forget_near(self.slot.digest()),
            Ok(false) => {
                tracing::debug!(target: "tower_fred::store", "an entry was purged or replaced while it was made");
            }
            Err(error) => {
                tracing::debug!(target: "tower_fred::store", %error, "an entry was not stored");
                if error.is_unavailable() {
                    let seen = self.seen.clone();
                    self.store.fill_later(&self.slot, seen, kept, until);
                }
            }
        }
        // The fill script deletes the lease, or overwrites it; other ways to store do not.
        if let Some(lease) = lease.filter(|_| !is_used_up) {
            give_back(&self.store, &self.slot, lease);
        }
        // Only now: later callers ask Redis, and find the entry there.
        if let Some(membership) = membership {
            membership.end();
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        match self.renewal.take() {
            // There is an entry to use: after an unfinished renewal, the next one does not begin at once.
            Some(renewal) => release::keep(&self.store, &self.slot, lease, renewal),
            None => give_back(&self.store, &self.slot, lease),
        }
    }
}

/// How long other processes are told that there is no entry: longer than the pauses between their looks.
const TOLD_FOR: Duration = Duration::from_millis(250);

impl fmt::Debug for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead").finish_non_exhaustive()
    }
}
