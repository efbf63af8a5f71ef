//! One load at a time for each key of this process.

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
    course::{Course, Landing, Step},
    pulse::Pulse,
};
use crate::store::entry::{
    key::Digest,
    log_position::Seq,
    slot::{Held, Seen},
};

/// The loads that are under way. There is an entry for as long as somebody loads or waits.
#[derive(Clone, Default)]
pub(crate) struct Flights {
    flights: Arc<Mutex<HashMap<Digest, Arc<Flight>>>>,
}

#[derive(Default)]
struct Flight {
    course: watch::Sender<Course>,
    /// How many lead or wait. It changes only while the list is locked.
    places: AtomicUsize,
}

/// What a caller is to do.
#[derive(Debug)]
pub(crate) enum Boarding {
    /// Load, then [`Seat::land`]. Dropping it hands the lead to one who waits.
    Lead(Seat),
    /// Take what the leader found.
    Follow(Landing),
    /// Load for oneself: the load that was waited for failed after this was seen.
    Failed(Seen),
    /// Load for oneself: two leaders in a row gave no sign of life.
    Deserted,
}

impl Flights {
    /// Becomes the leader for `key`, or waits for the one there is.
    ///
    /// A leader for which `is_late` is true, of what it knew and since when it leads, gets no more followers, and what was
    /// found and is not `usable` is passed over. One of those who wait takes the lead from a leader that gives no sign
    /// of life; what that one finds later is still for all.
    pub(crate) async fn join(
        &self,
        key: Digest,
        now: Seq,
        is_late: impl Fn(Seq, Instant) -> bool,
        usable: impl Fn(&Landing) -> bool,
    ) -> Boarding {
        loop {
            let place = self.place(key, &is_late, &usable);
            if let Some(boarding) = place.wait(now, &usable).await {
                return boarding;
            }
        }
    }

    /// The lead for `key`, if nobody has it who gives signs of life.
    pub(crate) fn try_lead(&self, key: Digest, now: Seq) -> Option<Seat> {
        self.place(key, |_, _| false, |_| true).lead(now).ok()
    }

    /// A place in the flight for `key`, in a new one if the one there is will not do.
    fn place(
        &self,
        key: Digest,
        is_late: impl Fn(Seq, Instant) -> bool,
        usable: impl Fn(&Landing) -> bool,
    ) -> Place {
        let mut flights = self.lock();
        let listed = flights.entry(key).or_default();
        if listed.course.borrow().is_closed(is_late, usable) {
            *listed = Arc::default();
        }
        listed.places.fetch_add(1, Ordering::Relaxed);
        Place {
            flights: self.clone(),
            key,
            flight: Arc::clone(listed),
        }
    }

    /// What the leader for `key` has found, if it is still about to store it.
    pub(crate) fn landed(&self, key: &Digest) -> Option<Held> {
        let flights = self.lock();
        let course = flights.get(key)?.course.borrow();
        course.result.as_ref().map(|found| found.held.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Flight>>> {
        // Nothing panics while it is held.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to load for one key. The helm goes first when it is dropped, so that the place is the last to leave.
pub(crate) struct Seat {
    helm: Helm,
    place: Place,
}

/// What makes its owner the leader until it is dropped, or somebody else takes the lead.
struct Helm {
    flight: Arc<Flight>,
    pulse: Arc<Pulse>,
}

impl Seat {
    /// Gives the result to all who wait, and to who comes for as long as the place that this returns is held.
    pub(crate) fn land(self, held: Held, began: Instant) -> Place {
        let Self { helm, place } = self;
        helm.flight.course.send_modify(|course| {
            course.result = Some(Landing { held, began });
        });
        place
    }

    /// Has all who wait load for themselves, at once, in the place of what was `seen`; who comes later begins anew.
    pub(crate) fn fail(self, seen: Seen) {
        let Self { helm, place } = self;
        let failed = helm.flight.course.send_if_modified(|course| {
            let leads = course.is_led_by(&helm.pulse);
            if leads {
                course.failure = Some(seen);
            }
            leads
        });
        // Who was replaced has nobody who waits for it.
        if failed {
            place.end();
        }
    }

    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.helm.pulse
    }
}

impl Drop for Helm {
    fn drop(&mut self) {
        self.flight.course.send_if_modified(|course| {
            let leads = course.is_led_by(&self.pulse);
            if leads {
                course.leader = None;
            }
            leads
        });
    }
}

/// A place in a flight, as its leader or waiting.
pub(crate) struct Place {
    flights: Flights,
    key: Digest,
    flight: Arc<Flight>,
}

impl Place {
    /// Waits for what is to be done; `None` when another flight is to be joined.
    async fn wait(mut self, now: Seq, usable: impl Fn(&Landing) -> bool) -> Option<Boarding> {
        let mut news = self.flight.course.subscribe();
        let replaced = self.flight.course.borrow().replaced;
        loop {
            let step = self.flight.course.borrow().step(&usable);
            match step {
                Step::Follow(found) => return Some(Boarding::Follow(found)),
                Step::Fail(seen) => return Some(Boarding::Failed(seen)),
                Step::Leave => return None,
                Step::Lead => match self.lead(now) {
                    Ok(seat) => return Some(Boarding::Lead(seat)),
                    Err(place) => self = place,
                },
                // Each would else wait for one after the other.
                Step::Wait(_) if self.flight.course.borrow().replaced > replaced + 1 => {
                    return Some(Boarding::Deserted);
                }
                Step::Wait(patience) => {
                    // Whether there are news or the time is over: the next step tells.
                    let _ = timeout(patience, news.changed()).await;
                }
            }
        }
    }

    fn lead(self, seq: Seq) -> Result<Seat, Self> {
        let mut pulse = None;
        // Nobody has to be told: who waits looks when its time is over.
        self.flight.course.send_if_modified(|course| {
            pulse = course.lead(seq);
            false
        });
        let Some(pulse) = pulse else {
            return Err(self);
        };
        let helm = Helm {
            flight: Arc::clone(&self.flight),
            pulse,
        };
        Ok(Seat { helm, place: self })
    }

    /// Takes the flight off the list: who comes later begins anew.
    pub(crate) fn end(self) {
        self.leave(|_| true);
    }

    /// Takes the flight off the list if it is still the listed one and `last` says so of it.
    fn leave(&self, last: impl FnOnce(&Arc<Flight>) -> bool) {
        if let hash_map::Entry::Occupied(listed) = self.flights.lock().entry(self.key) {
            if Arc::ptr_eq(listed.get(), &self.flight) && last(listed.get()) {
                listed.remove();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave(|flight| flight.places.fetch_sub(1, Ordering::Relaxed) == 1);
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
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

    async fn join(flights: &Flights) -> Boarding {
        flights
            .join(key(), Seq::default(), |_, _| false, |_| true)
            .await
    }

    fn lead(boarding: Boarding) -> Seat {
        match boarding {
            Boarding::Lead(seat) => seat,
            other => panic!("not the leader: {other:?}"),
        }
    }

    #[tokio::test]
    async fn who_waits_gets_the_result_and_who_comes_later_does_not() {
        let flights = Flights::default();
        let first = lead(join(&flights).await);
        let mut waiting = Box::pin(join(&flights));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert!(flights.landed(&key()).is_none());
        let place = first.land(found("found"), Instant::now());
        assert_eq!(text(&flights.landed(&key()).expect("landed")), b"found");
        assert!(matches!(join(&flights).await, Boarding::Follow(_)));
        place.end();
        assert!(flights.lock().is_empty());
        lead(join(&flights).await);
        assert!(
            matches!(waiting.await, Boarding::Follow(landing) if text(&landing.held) == b"found")
        );
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
        drop(second.land(found("found"), Instant::now()));
        assert!(matches!(third.await, Boarding::Follow(_)));
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
            assert!(matches!(one.await, Boarding::Failed(Seen::Nothing)));
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
        // What it does is no longer for the flight, but for what it finds.
        assert!(!first.place.flight.course.borrow().is_led_by(first.pulse()));
        first.land(found("late"), Instant::now()).end();
        assert!(matches!(third.await, Boarding::Follow(landing) if text(&landing.held) == b"late"));
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
        drop(second.land(found("found"), Instant::now()));
        assert!(matches!(third.await, Boarding::Follow(_)));
    }

    #[tokio::test]
    async fn nobody_waits_for_three_of_them_in_turn() {
        let flights = Flights::default();
        let mut seats = vec![lead(join(&flights).await)];
        let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(join(&flights))).collect();
        let mut deserted = 0;
        for boarding in futures_util::future::join_all(&mut waiting).await {
            match boarding {
                Boarding::Lead(seat) => seats.push(seat),
                Boarding::Deserted => deserted += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((seats.len(), deserted), (3, 2));
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
        // The old one does not take the new one's place away.
        old.land(found("old"), Instant::now()).end();
        assert_eq!(flights.lock().len(), 1);
        drop(new);
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn a_result_that_is_of_no_use_is_passed_over() {
        let flights = Flights::default();
        let place = lead(join(&flights).await).land(found("old"), Instant::now());
        let unusable = |found: &Landing| text(&found.held) != b"old";
        let boarding = flights
            .join(key(), Seq::default(), |_, _| false, unusable)
            .await;
        lead(boarding);
        place.end();
        assert!(flights.lock().is_empty());
    }
}
