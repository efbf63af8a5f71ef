//! One load at a time for each key in this process ("single flight").

use std::{
    collections::{HashMap, hash_map},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::{sync::watch, time::timeout};

use super::{
    heartbeat::Heartbeat,
    state::{FlightState, Outcome, Step},
};
use crate::store::entry::{
    key::Digest,
    log_position::Seq,
    slot::{Held, Seen},
};

/// The flights: the loads that are under way, by key. A flight is listed while a caller loads or waits.
#[derive(Clone, Default)]
pub(crate) struct Flights {
    flights: Arc<Mutex<HashMap<Digest, Arc<Flight>>>>,
}

#[derive(Default)]
struct Flight {
    state: watch::Sender<FlightState>,
    /// How many members lead or wait. It changes only while the list is locked.
    members: AtomicUsize,
}

/// What a caller of [`Flights::join`] is to do.
#[derive(Debug)]
pub(crate) enum Role {
    /// Load, then [`Leadership::share`]. Dropping it gives the lead to a member that waits.
    Lead(Leadership),
    /// Use what the leader found.
    Follow(Outcome),
    /// Load for itself: the load that it waited for failed, after the leader had seen this in the slot.
    Failed(Seen),
    /// Load for itself: two leaders in a row gave no heartbeat.
    Deserted,
}

impl Flights {
    /// Becomes the leader for `key`, or waits for the leader that there is.
    ///
    /// `is_late` is asked about a leader: the place in the purge log that it knew, and since when it leads. A late leader
    /// gets no more followers. An outcome that is not `usable` is passed over. A leader without a heartbeat is replaced by
    /// one of those who wait; if it finds something later, that is still given to all.
    pub(crate) async fn join(
        &self,
        key: Digest,
        now: Seq,
        is_late: impl Fn(Seq, Instant) -> bool,
        usable: impl Fn(&Outcome) -> bool,
    ) -> Role {
        loop {
            let membership = self.enter(key, &is_late, &usable);
            if let Some(role) = membership.wait(now, &usable).await {
                return role;
            }
        }
    }

    /// The lead for `key`, unless a leader with a recent heartbeat has it.
    pub(crate) fn try_lead(&self, key: Digest, now: Seq) -> Option<Leadership> {
        self.enter(key, |_, _| false, |_| true).lead(now).ok()
    }

    /// Becomes a member of the flight for `key`, or of a new one if that is closed.
    fn enter(
        &self,
        key: Digest,
        is_late: impl Fn(Seq, Instant) -> bool,
        usable: impl Fn(&Outcome) -> bool,
    ) -> Membership {
        let mut flights = self.lock();
        let listed = flights.entry(key).or_default();
        if listed.state.borrow().is_closed(is_late, usable) {
            *listed = Arc::default();
        }
        listed.members.fetch_add(1, Ordering::Relaxed);
        Membership {
            flights: self.clone(),
            key,
            flight: Arc::clone(listed),
        }
    }

    /// What the leader for `key` has found, while it is not stored yet.
    pub(crate) fn found(&self, key: &Digest) -> Option<Held> {
        let flights = self.lock();
        let state = flights.get(key)?.state.borrow();
        state.result.as_ref().map(|found| found.held.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Flight>>> {
        // Nothing panics while it is held.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to load for one key. The guard is dropped first, so that the leader's membership ends last.
pub(crate) struct Leadership {
    guard: LeaderGuard,
    membership: Membership,
}

/// Makes its owner the leader until it is dropped or another member takes the lead.
struct LeaderGuard {
    flight: Arc<Flight>,
    heartbeat: Arc<Heartbeat>,
}

impl Leadership {
    /// Gives the result to all who wait, and to all who come while the membership that this returns is held.
    pub(crate) fn share(self, held: Held, began: Instant) -> Membership {
        let Self { guard, membership } = self;
        guard.flight.state.send_modify(|state| {
            state.result = Some(Outcome { held, began });
        });
        membership
    }

    /// Has all who wait load for themselves at the same time, in the place of what was `seen`. Later callers join a new
    /// flight.
    pub(crate) fn fail(self, seen: Seen) {
        let Self { guard, membership } = self;
        let failed = guard.flight.state.send_if_modified(|state| {
            let leads = state.is_led_by(&guard.heartbeat);
            if leads {
                state.failure = Some(seen);
            }
            leads
        });
        // Nobody waits for a leader that was replaced.
        if failed {
            membership.end();
        }
    }

    pub(crate) fn heartbeat(&self) -> &Arc<Heartbeat> {
        &self.guard.heartbeat
    }
}

impl Drop for LeaderGuard {
    fn drop(&mut self) {
        self.flight.state.send_if_modified(|state| {
            let leads = state.is_led_by(&self.heartbeat);
            if leads {
                state.leader = None;
            }
            leads
        });
    }
}

/// A caller that takes part in a flight, as its leader or waiting.
pub(crate) struct Membership {
    flights: Flights,
    key: Digest,
    flight: Arc<Flight>,
}

impl Membership {
    /// Waits until it is known what to do; `None` when another flight is to be joined.
    async fn wait(mut self, now: Seq, usable: impl Fn(&Outcome) -> bool) -> Option<Role> {
        let mut news = self.flight.state.subscribe();
        let replaced = self.flight.state.borrow().replaced;
        loop {
            let step = self.flight.state.borrow().step(&usable);
            match step {
                Step::Follow(found) => return Some(Role::Follow(found)),
                Step::Fail(seen) => return Some(Role::Failed(seen)),
                Step::Leave => return None,
                Step::Lead => match self.lead(now) {
                    Ok(leadership) => return Some(Role::Lead(leadership)),
                    Err(membership) => self = membership,
                },
                // Otherwise it would wait for one leader after another.
                Step::Wait(_) if self.flight.state.borrow().replaced > replaced + 1 => {
                    return Some(Role::Deserted);
                }
                Step::Wait(patience) => {
                    // Notified or timed out: the next step tells what to do.
                    let _ = timeout(patience, news.changed()).await;
                }
            }
        }
    }

    fn lead(self, seq: Seq) -> Result<Leadership, Self> {
        let mut heartbeat = None;
        // No notification is needed: the members look again when their time is over.
        self.flight.state.send_if_modified(|state| {
            heartbeat = state.lead(seq);
            false
        });
        let Some(heartbeat) = heartbeat else {
            return Err(self);
        };
        let guard = LeaderGuard {
            flight: Arc::clone(&self.flight),
            heartbeat,
        };
        Ok(Leadership {
            guard,
            membership: self,
        })
    }

    /// Takes the flight off the list: later callers join a new one.
    pub(crate) fn end(self) {
        self.leave(|_| true);
    }

    /// Takes the flight off the list if it is still listed and `last` is true of it.
    fn leave(&self, last: impl FnOnce(&Arc<Flight>) -> bool) {
        if let hash_map::Entry::Occupied(listed) = self.flights.lock().entry(self.key) {
            if Arc::ptr_eq(listed.get(), &self.flight) && last(listed.get()) {
                listed.remove();
            }
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leave(|flight| flight.members.fetch_sub(1, Ordering::Relaxed) == 1);
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::entry::{
        decode::{Entry, Value},
        key::resource,
        lifetime::Life,
        slot::Seen,
    };

    fn key() -> Digest {
        resource("host", "/", None)
    }

    fn found(text: &'static str) -> Held {
        let bytes = Bytes::from_static(text.as_bytes());
        let life = Life::default();
        Held {
            entry: Arc::new(Entry::Value(Value { life, bytes })),
            seen: Seen::Nothing,
        }
    }

    fn text(held: &Held) -> &[u8] {
        match &*held.entry {
            Entry::Value(value) => &value.bytes,
            _ => panic!("a value"),
        }
    }

    async fn join(flights: &Flights) -> Role {
        flights
            .join(key(), Seq::default(), |_, _| false, |_| true)
            .await
    }

    fn lead(role: Role) -> Leadership {
        match role {
            Role::Lead(leadership) => leadership,
            other => panic!("not the leader: {other:?}"),
        }
    }

    #[tokio::test]
    async fn who_waits_gets_the_result_and_who_comes_later_does_not() {
        let flights = Flights::default();
        let first = lead(join(&flights).await);
        let mut waiting = Box::pin(join(&flights));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert!(flights.found(&key()).is_none());
        let membership = first.share(found("found"), Instant::now());
        assert_eq!(text(&flights.found(&key()).expect("found")), b"found");
        assert!(matches!(join(&flights).await, Role::Follow(_)));
        membership.end();
        assert!(flights.lock().is_empty());
        lead(join(&flights).await);
        assert!(matches!(waiting.await, Role::Follow(found) if text(&found.held) == b"found"));
    }

    #[tokio::test]
    async fn a_leader_that_leaves_hands_over() {
        let flights = Flights::default();
        let first = lead(join(&flights).await);
        let mut second = Box::pin(join(&flights));
        let mut third = Box::pin(join(&flights));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(first);
        let second = lead(second.await);
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(second.share(found("found"), Instant::now()));
        assert!(matches!(third.await, Role::Follow(_)));
    }

    #[tokio::test]
    async fn who_waited_for_a_failure_waits_for_nobody_else() {
        let flights = Flights::default();
        let first = lead(join(&flights).await);
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(join(&flights))).collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one).is_pending());
        }
        first.fail(Seen::Nothing);
        assert!(flights.lock().is_empty());
        let later = lead(join(&flights).await);
        for one in waiting {
            assert!(matches!(one.await, Role::Failed(Seen::Nothing)));
        }
        drop(later);
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn one_replaces_a_leader_without_a_sign_of_life_and_both_may_find_something() {
        let flights = Flights::default();
        let first = lead(join(&flights).await);
        let mut second = Box::pin(join(&flights));
        let mut third = Box::pin(join(&flights));
        assert!(futures_util::poll!(&mut third).is_pending());
        assert!(flights.try_lead(key(), Seq::default()).is_none());
        let second = lead(second.as_mut().await);
        assert!(futures_util::poll!(&mut third).is_pending());
        // The replaced leader no longer leads the flight, but what it finds is still used.
        assert!(
            !first
                .membership
                .flight
                .state
                .borrow()
                .is_led_by(first.heartbeat())
        );
        first.share(found("late"), Instant::now()).end();
        assert!(matches!(third.await, Role::Follow(found) if text(&found.held) == b"late"));
        drop(second);
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn the_failure_of_one_who_was_replaced_is_nobody_elses() {
        let flights = Flights::default();
        let first = lead(join(&flights).await);
        let second = lead(join(&flights).await);
        let mut third = Box::pin(join(&flights));
        first.fail(Seen::Nothing);
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(second.share(found("found"), Instant::now()));
        assert!(matches!(third.await, Role::Follow(_)));
    }

    #[tokio::test]
    async fn nobody_waits_for_three_of_them_in_turn() {
        let flights = Flights::default();
        let mut leaders = vec![lead(join(&flights).await)];
        let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(join(&flights))).collect();
        let mut deserted = 0;
        for role in futures_util::future::join_all(&mut waiting).await {
            match role {
                Role::Lead(leadership) => leaders.push(leadership),
                Role::Deserted => deserted += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((leaders.len(), deserted), (3, 2));
    }

    #[tokio::test]
    async fn nothing_stays_behind() {
        let flights = Flights::default();
        let first = lead(join(&flights).await);
        let mut waiting = Box::pin(join(&flights));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(first);
        assert_eq!(flights.lock().len(), 1);
        // Cancelled while it waits.
        drop(waiting);
        assert!(flights.lock().is_empty());

        drop(lead(join(&flights).await));
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn a_leader_that_is_too_late_takes_nobody_on() {
        let flights = Flights::default();
        let old = lead(join(&flights).await);
        let now = Seq {
            count: 1,
            ..Seq::default()
        };
        let new = flights
            .join(key(), now, |seq, _| seq != now, |_| true)
            .await;
        let new = lead(new);
        // The end of the old flight does not remove the new one.
        old.share(found("old"), Instant::now()).end();
        assert_eq!(flights.lock().len(), 1);
        drop(new);
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn a_result_that_is_of_no_use_is_passed_over() {
        let flights = Flights::default();
        let membership = lead(join(&flights).await).share(found("old"), Instant::now());
        let unusable = |found: &Outcome| text(&found.held) != b"old";
        let role = flights
            .join(key(), Seq::default(), |_, _| false, unusable)
            .await;
        lead(role);
        membership.end();
        assert!(flights.lock().is_empty());
    }
}
