//! Looking up an entry in this process and in Redis, and judging whether it may be used.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
};

use tokio::try_join;

use super::{inner::Inner, near::Kept};
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

    /// An entry that may be used without asking Redis.
    ///
    /// Near hits do not wait for each other: the only lock is the one of the near tier's shard, taken for reading, and the only
    /// memory that is written to is that lock, the count of reads of the entry up to a small number, and the count of references.
    pub(crate) fn peek(self: &Arc<Self>, slot: &Slot, now_ms: u64) -> Option<Arc<Kept>> {
        let near = self.near.as_ref()?;
        let now = clock();
        if !self.log.is_recent(now) {
            return None;
        }
        let kept = near.get(slot.digest())?;
        // Probabilistic early refresh needs a random draw. A near hit skips the draw unless the largest possible draw would
        // trigger a refresh.
        let draw = || self.settings.eagerness * MOST_DRAW;
        let verdict = self.verdict_of_kept(slot, &kept);
        let state = state(kept.entry(), verdict, now_ms, draw)?;
        let is_usable = state == State::Fresh && self.is_confirmed(slot, &kept, now);
        is_usable.then_some(kept)
    }

    /// An entry in this process, if it may be used.
    pub(crate) async fn look_here(self: &Arc<Self>, slot: &Slot, budget: Budget) -> Option<Usable> {
        // Otherwise a task that finds each entry here would never yield.
        tokio::task::coop::consume_budget().await;
        let is_known = self.log.is_recent(clock());
        let kept = self.near.as_ref().and_then(|near| near.get(slot.digest()));
        let made = match &kept {
            Some(_) => None,
            // It was made and is not stored yet.
            None => Some(self.flights.found(slot.digest())?),
        };
        let is_known = is_known || budget.limit(self.log.catch_up()).await.is_ok();
        if !is_known && !self.log.is_known(self.settings.serve_for) {
            return None;
        }
        let usable = match (&kept, made) {
            (Some(kept), _) => self.usable_kept(slot, kept),
            (None, made) => made.and_then(|held| self.usable(slot, held)),
        };
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
        if self.log.is_recent(clock()) {
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

    fn usable_kept(&self, slot: &Slot, kept: &Kept) -> Option<Usable> {
        let verdict = self.verdict_of_kept(slot, kept);
        let state = state(kept.entry(), verdict, unix_millis(), || self.draw())?;
        let Held { entry, seen } = kept.held.clone();
        Some(Usable { entry, state, seen })
    }

    pub(crate) fn judge(&self, slot: &Slot, entry: &Entry) -> Option<State> {
        let verdict = self.verdict(slot, entry);
        state(entry, verdict, unix_millis(), || self.draw())
    }

    /// Whether an entry was purged. It takes the lock of the purge log.
    fn verdict(&self, slot: &Slot, entry: &Entry) -> Verdict {
        let tags = entry.life().map_or(&[][..], |life| &life.tags);
        let tags = tags.iter().copied().chain([slot.group()]);
        self.log.judge(entry.seq(), slot.subject(), tags)
    }

    /// The same for a near copy, which is judged once at each place in the log. All slots with its digest have one group.
    fn verdict_of_kept(&self, slot: &Slot, kept: &Kept) -> Verdict {
        // Before it is judged: a record that is added meanwhile makes it be judged again.
        let generation = self.log.generation();
        if kept.held_at.load(Ordering::Relaxed) == generation {
            return Verdict::Holds;
        }
        let verdict = self.verdict(slot, kept.entry());
        if verdict == Verdict::Holds {
            kept.held_at.store(generation, Ordering::Relaxed);
        }
        verdict
    }

    /// The `eagerness` argument of [`judge`], with a random draw.
    fn draw(&self) -> f64 {
        if self.settings.eagerness == 0.0 {
            return 0.0;
        }
        -self.settings.eagerness * chance().ln()
    }
}

fn state(
    entry: &Entry,
    verdict: Verdict,
    now_ms: u64,
    draw: impl FnOnce() -> f64,
) -> Option<State> {
    match entry.life() {
        Some(life) => judge(life, verdict, now_ms, draw()),
        // Soft purges make responses and values stale, not the list of field names that leads to a response.
        None if matches!(entry, Entry::Lease) || verdict == Verdict::Gone => None,
        None => Some(State::Fresh),
    }
}

/// More than the negative logarithm of any [`chance`].
const MOST_DRAW: f64 = 23.0;

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;
    use crate::{
        redis::Redis,
        store::{
            entry::{encode::Writer, key::resource, lifetime::Life, tag::Tag},
            history::record::{Mode, Order, PurgeRecord},
            tiers::settings::Settings,
        },
    };

    fn record(count: u64, mode: Mode, tags: &[Tag]) -> PurgeRecord {
        PurgeRecord {
            epoch: 1,
            count,
            order: Order {
                mode,
                token: count.to_le_bytes(),
                tags: tags.to_vec(),
            },
            at_ms: 0,
        }
    }

    /// A store without a server, a slot whose entry it keeps in memory, and a log with one record.
    async fn store() -> (Arc<Inner>, Slot) {
        let redis = Redis::builder().lazy().connect("redis://127.0.0.1:1").await;
        let settings = Settings {
            near: Some(1 << 20),
            ..Settings::default()
        };
        let store = Arc::new(Inner::new(&redis.expect("a handle"), settings));
        let slot = store.remote.value(resource("host", "/path", None));
        let begin = record(0, Mode::Begin, &[]);
        store.log.change(|purges| purges.apply(&begin));
        let life = Life {
            born_ms: unix_millis(),
            lifetime_ms: 60_000,
            seq: begin.seq(),
            tags: vec![Tag(7)],
            ..Life::default()
        };
        let blob = Writer::value(&life, b"1", slot.digest(), None);
        let near = store.near.as_ref().expect("a near tier");
        for _ in 0..2 {
            near.offer(slot.digest(), &blob, &Seen::mark(&blob), clock());
        }
        (store, slot)
    }

    fn is_hit(store: &Arc<Inner>, slot: &Slot) -> bool {
        store.log.note(clock());
        store.peek(slot, unix_millis()).is_some()
    }

    /// Each hit took the lock of the purge log, for which all threads wait.
    #[tokio::test]
    async fn a_near_hit_takes_no_lock_of_the_log_unless_a_record_was_added() {
        let (store, slot) = store().await;
        for count in 1..4 {
            assert!(is_hit(&store, &slot), "judged");
            let other = record(count, Mode::Hard, &[Tag(count)]);
            store.log.change(|purges| purges.apply(&other));
            assert!(is_hit(&store, &slot), "judged again");
            let (sender, found) = mpsc::channel();
            store.log.change(|_| {
                let (store, slot) = (Arc::clone(&store), slot.clone());
                thread::spawn(move || sender.send(store.peek(&slot, unix_millis()).is_some()));
                let found = found.recv_timeout(std::time::Duration::from_secs(10));
                assert_eq!(found, Ok(true), "while the log is locked");
            });
        }
    }

    /// A copy that was judged is judged again after each change of what is known, whatever kind of change.
    #[tokio::test]
    async fn what_held_before_a_record_does_not_hold_by_that() {
        for (mode, tags) in [
            (Mode::Hard, vec![Tag(7)]),
            (Mode::Soft, vec![Tag(7)]),
            (Mode::Hard, vec![]),
            (Mode::Soft, vec![]),
        ] {
            let (store, slot) = store().await;
            assert!(is_hit(&store, &slot));
            let purge = record(1, mode, &tags);
            store.log.change(|purges| purges.apply(&purge));
            assert!(!is_hit(&store, &slot), "{mode:?} {tags:?}");
        }
        let (store, slot) = store().await;
        assert!(is_hit(&store, &slot));
        store.log.replace(Default::default());
        assert!(!is_hit(&store, &slot), "another log");
    }
}
