//! Looking up an entry in this process and in Redis, and judging whether it may be used.

use std::{future::Future, sync::Arc};

use tokio::try_join;

use super::inner::Inner;
use crate::{
    error::Error,
    redis::Budget,
    store::{
        entry::{
            decode::Entry,
            key::Digest,
            slot::{Held, Seen, Sight, Slot},
            state::{State, Verdict, judge},
        },
        purge_log::{
            clock::{clock, unix_millis},
            log::RECENT,
            random::chance,
        },
    },
};

/// What a lookup found.
#[derive(Debug)]
pub(crate) struct Found {
    /// An entry that may be used, in the cases that its state names.
    pub(crate) usable: Option<Usable>,
    /// What is in the slot, usable or not, for `Store::begin`.
    pub(crate) seen: Seen,
}

/// An entry that may be used.
#[derive(Clone, Debug)]
pub(crate) struct Usable {
    pub(crate) entry: Arc<Entry>,
    pub(crate) state: State,
    pub(crate) seen: Seen,
}

impl Inner {
    pub(crate) async fn lookup(
        self: &Arc<Self>,
        slot: &Slot,
        budget: Budget,
    ) -> Result<Found, Error> {
        if let Some(usable) = self.look_here(slot, budget).await {
            return Ok(Found {
                seen: usable.seen.clone(),
                usable: Some(usable),
            });
        }
        // What this process has made may not be in Redis yet.
        let found_here = self.flights.found(slot.digest());
        let sight = self.look_there(slot, budget).await?;
        let seen = sight.seen.clone();
        if let Some(usable) = self.admit(slot, sight) {
            return Ok(Found {
                usable: Some(usable),
                seen,
            });
        }
        let usable = found_here.and_then(|held| self.usable(slot, held));
        let seen = usable.as_ref().map_or(seen, |usable| usable.seen.clone());
        Ok(Found { usable, seen })
    }

    pub(crate) fn forget_near(&self, digest: &Digest) {
        if let Some(near) = &self.near {
            near.remove(digest);
        }
    }

    pub(crate) fn peek(self: &Arc<Self>, slot: &Slot, now_ms: u64) -> Option<Arc<Entry>> {
        let near = self.near.as_ref()?;
        if !self.log.is_known(RECENT) {
            return None;
        }
        let kept = near.get(slot.digest())?;
        let entry = &kept.held.entry;
        // Probabilistic early refresh needs a random draw. A near hit skips the draw unless the largest possible draw would
        // trigger a refresh.
        let draw = || self.settings.eagerness * MOST_DRAW;
        let state = self.state(slot, entry, now_ms, draw)?;
        let is_usable = state == State::Fresh && self.is_confirmed(slot, &kept);
        is_usable.then(|| Arc::clone(entry))
    }

    /// An entry in this process, if it may be used.
    pub(crate) async fn look_here(self: &Arc<Self>, slot: &Slot, budget: Budget) -> Option<Usable> {
        // Otherwise a task that finds each entry here would never yield.
        tokio::task::coop::consume_budget().await;
        let is_known = self.log.is_known(RECENT);
        let kept = self.near.as_ref().and_then(|near| near.get(slot.digest()));
        let held = match &kept {
            Some(kept) => kept.held.clone(),
            // It was made and is not stored yet.
            None => self.flights.found(slot.digest())?,
        };
        let is_known = is_known || budget.limit(self.log.catch_up()).await.is_ok();
        if !is_known && !self.log.is_known(self.settings.serve_for) {
            return None;
        }
        let usable = self.usable(slot, held);
        if usable.is_none() {
            self.forget_near(slot.digest());
        }
        // If it is stale here, another process may have stored a new one.
        let usable = usable.filter(|usable| usable.state <= State::Early)?;
        if let Some(kept) = kept.filter(|_| is_known) {
            let confirmed = budget.limit(async { Ok(self.confirm(slot, &kept).await) });
            return confirmed.await.is_ok_and(|it_is| it_is).then_some(usable);
        }
        Some(usable)
    }

    /// What is in Redis, with the purge log known at least as far as its maker knew it.
    pub(crate) async fn look_there(&self, slot: &Slot, budget: Budget) -> Result<Sight, Error> {
        let looked = async {
            let sight = self.knowing(self.remote.read(slot)).await?;
            self.reach(&sight).await?;
            Ok(sight)
        };
        budget.limit(looked).await
    }

    /// Reads the purge log if the maker of an entry knew more of it: it may know purges that this process does not know,
    /// or purges that a failover has lost.
    pub(crate) async fn reach(&self, sight: &Sight) -> Result<(), Error> {
        match &sight.entry {
            Some(entry) if entry.seq().is_ahead_of(&self.log.seq()) => self.log.catch_up().await,
            _ => Ok(()),
        }
    }

    /// Waits for `look`, and at the same time for a read of the purge log unless the last one is recent.
    pub(crate) async fn knowing<T>(
        &self,
        look: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if self.log.is_known(RECENT) {
            return look.await;
        }
        let (found, ()) = try_join!(look, self.log.catch_up())?;
        Ok(found)
    }

    /// An entry that was read from Redis, if it may be used. A fresh one is offered to the near tier.
    pub(crate) fn admit(&self, slot: &Slot, sight: Sight) -> Option<Usable> {
        let Sight { entry, blob, seen } = sight;
        let usable = self.usable(
            slot,
            Held {
                entry: entry?,
                seen,
            },
        )?;
        if let (Some(near), State::Fresh) = (&self.near, usable.state) {
            near.offer(slot.digest(), &blob, &usable.seen, clock());
        }
        Some(usable)
    }

    fn usable(&self, slot: &Slot, held: Held) -> Option<Usable> {
        let state = self.judge(slot, &held.entry)?;
        let Held { entry, seen } = held;
        Some(Usable { entry, state, seen })
    }

    pub(crate) fn judge(&self, slot: &Slot, entry: &Entry) -> Option<State> {
        self.state(slot, entry, unix_millis(), || self.draw())
    }

    fn state(
        &self,
        slot: &Slot,
        entry: &Entry,
        now_ms: u64,
        draw: impl FnOnce() -> f64,
    ) -> Option<State> {
        let tags = entry.life().map_or(&[][..], |life| &life.tags);
        let tags = tags.iter().copied().chain([slot.group()]);
        let verdict = self.log.judge(entry.seq(), slot.subject(), tags);
        match entry.life() {
            Some(life) => judge(life, verdict, now_ms, draw()),
            // Soft purges make responses and values stale, not the list of field names that leads to a response.
            None if matches!(entry, Entry::Lease) || verdict == Verdict::Gone => None,
            None => Some(State::Fresh),
        }
    }

    /// The `eagerness` argument of [`judge`], with a random draw.
    fn draw(&self) -> f64 {
        if self.settings.eagerness == 0.0 {
            return 0.0;
        }
        -self.settings.eagerness * chance().ln()
    }
}

/// More than the negative logarithm of any [`chance`].
const MOST_DRAW: f64 = 23.0;
