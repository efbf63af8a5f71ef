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

use tokio::sync::{self, watch};

use super::{key::Digest, life::Seq, near::Held};

/// The loads that are under way. There is an entry for as long as somebody loads or waits.
#[derive(Clone, Default)]
pub(crate) struct Flights {
    flights: Arc<Mutex<HashMap<Digest, Arc<Flight>>>>,
}

#[derive(Default)]
struct Flight {
    /// Held by the leader.
    lead: Arc<sync::Mutex<()>>,
    /// What it found for those who wait.
    result: watch::Sender<Option<Landing>>,
    /// How many lead or wait. It changes only while the list is locked.
    places: AtomicUsize,
    /// What the leader knew of the purge log when it took the lead, and when that was.
    led: Mutex<Option<(Seq, Instant)>>,
}

/// What a leader found.
#[derive(Clone, Debug)]
pub(crate) struct Landing {
    pub(crate) held: Held,
    /// Before it was made or looked for.
    pub(crate) began: Instant,
}

/// What a caller is to do.
#[derive(Debug)]
pub(crate) enum Boarding {
    /// Load, then [`Seat::land`]. Dropping it hands the lead to the next one who waits.
    Lead(Seat),
    /// Take what the leader found.
    Follow(Landing),
}

impl Flights {
    /// Becomes the leader for `key`, or waits for the one there is.
    ///
    /// A leader for which `is_late` is true, of what it knew and since when it leads, gets no more followers, and what was found and is not `usable` is passed over.
    pub(crate) async fn join(
        &self,
        key: Digest,
        now: Seq,
        is_late: impl Fn(Seq, Instant) -> bool,
        usable: impl Fn(&Held) -> bool,
    ) -> Boarding {
        loop {
            let place = self.place(key, &is_late, &usable);
            let mut result = place.flight.result.subscribe();
            let lead = Arc::clone(&place.flight.lead);
            tokio::select! {
                biased;
                found = result.wait_for(Option::is_some) => {
                    let found = found.ok().and_then(|found| found.clone());
                    match found {
                        Some(found) if usable(&found.held) => return Boarding::Follow(found),
                        _ => {}
                    }
                }
                lead = lead.lock_owned() => {
                    *place.flight.led() = Some((now, Instant::now()));
                    return Boarding::Lead(Seat { _lead: lead, place });
                }
            }
        }
    }

    /// A place in the flight for `key`, in a new one if the one there is will not do.
    fn place(
        &self,
        key: Digest,
        is_late: impl Fn(Seq, Instant) -> bool,
        usable: impl Fn(&Held) -> bool,
    ) -> Place {
        let mut flights = self.lock();
        let listed = flights.entry(key).or_default();
        let is_of_no_use = listed
            .result
            .borrow()
            .as_ref()
            .is_some_and(|found| !usable(&found.held));
        if is_of_no_use || listed.led().is_some_and(|(seq, since)| is_late(seq, since)) {
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
        let found = flights.get(key)?.result.borrow();
        found.as_ref().map(|found| found.held.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Flight>>> {
        // Nothing panics while it is held.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    fn led(&self) -> MutexGuard<'_, Option<(Seq, Instant)>> {
        self.led.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to load for one key. The guard goes first when it is dropped, so that the place is the last to leave.
pub(crate) struct Seat {
    _lead: sync::OwnedMutexGuard<()>,
    place: Place,
}

impl Seat {
    /// Gives the result to all who wait, and to who comes for as long as the place that this returns is held.
    pub(crate) fn land(self, held: Held, began: Instant) -> Place {
        let landing = Landing { held, began };
        self.place.flight.result.send_replace(Some(landing));
        self.place
    }
}

/// A place in a flight, as its leader or waiting.
pub(crate) struct Place {
    flights: Flights,
    key: Digest,
    flight: Arc<Flight>,
}

impl Place {
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

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::store::{
        entry::{Entry, Value},
        key::resource,
        life::Life,
        remote::Seen,
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
            Boarding::Follow(_) => panic!("not the leader"),
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
        let unusable = |held: &Held| text(held) != b"old";
        let boarding = flights
            .join(key(), Seq::default(), |_, _| false, unusable)
            .await;
        lead(boarding);
        place.end();
        assert!(flights.lock().is_empty());
    }
}
