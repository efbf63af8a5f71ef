//! One load at a time for each key of this process.

use std::{
    collections::{HashMap, hash_map},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync;

use super::key::Digest;

/// The loads that are under way. There is an entry for as long as somebody loads or waits.
#[derive(Clone, Default)]
pub(crate) struct Flights {
    flights: Arc<Mutex<HashMap<Digest, Arc<Flight>>>>,
}

#[derive(Default)]
struct Flight {
    /// Held by the leader; what it found for those who wait.
    result: Arc<sync::Mutex<Option<Bytes>>>,
    abandoned: AtomicBool,
}

/// What a caller is to do.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Load, then [`Lead::land`]. Dropping it hands the lead to the next one who waits.
    Lead(Lead),
    /// Take what the leader found.
    Follow(Bytes),
}

impl Flights {
    /// Becomes the leader for `key`, or waits for the one there is.
    pub(crate) async fn join(&self, key: Digest) -> Turn {
        let flight = Arc::clone(self.lock().entry(key).or_default());
        let seat = Seat {
            flights: self.clone(),
            key,
            flight,
        };
        let guard = Arc::clone(&seat.flight.result).lock_owned().await;
        match &*guard {
            Some(result) => Turn::Follow(result.clone()),
            None => Turn::Lead(Lead { guard, seat }),
        }
    }

    /// Lets nobody join the flight for `key` that may be under way, and tells its leader that the result is outdated.
    pub(crate) fn abandon(&self, key: &Digest) {
        if let Some(flight) = self.lock().remove(key) {
            flight.abandoned.store(true, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Flight>>> {
        // Nothing panics while it is held.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to load for one key. The guard goes first when it is dropped, so that the seat is the last to leave.
pub(crate) struct Lead {
    guard: sync::OwnedMutexGuard<Option<Bytes>>,
    seat: Seat,
}

impl Lead {
    /// True when the key was written or removed meanwhile: what was loaded before that is not to be kept.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.seat.flight.abandoned.load(Ordering::Acquire)
    }

    /// Gives the result to all who wait. Who comes later begins anew.
    pub(crate) fn land(mut self, result: Bytes) {
        self.seat.leave(|_| true);
        *self.guard = Some(result);
    }
}

/// A place in a flight, as its leader or waiting.
struct Seat {
    flights: Flights,
    key: Digest,
    flight: Arc<Flight>,
}

impl Seat {
    /// Takes the flight off the list if it is still the listed one and `last` says so of it.
    fn leave(&self, last: impl FnOnce(&Arc<Flight>) -> bool) {
        if let hash_map::Entry::Occupied(listed) = self.flights.lock().entry(self.key) {
            if Arc::ptr_eq(listed.get(), &self.flight) && last(listed.get()) {
                listed.remove();
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Two references are left: the list's and this one. Only who holds the list's lock makes more.
        self.leave(|flight| Arc::strong_count(flight) == 2);
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}

impl fmt::Debug for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::key::resource;

    fn key() -> Digest {
        resource("host", "/", None)
    }

    fn lead(turn: Turn) -> Lead {
        match turn {
            Turn::Lead(lead) => lead,
            Turn::Follow(_) => panic!("not the leader"),
        }
    }

    #[tokio::test]
    async fn who_waits_gets_the_result_and_who_comes_later_does_not() {
        let flights = Flights::default();
        let first = lead(flights.join(key()).await);
        let mut waiting = Box::pin(flights.join(key()));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        first.land(Bytes::from_static(b"found"));
        assert!(flights.lock().is_empty());
        lead(flights.join(key()).await);
        assert!(matches!(waiting.await, Turn::Follow(found) if found == "found"));
    }

    #[tokio::test]
    async fn a_leader_that_leaves_hands_over() {
        let flights = Flights::default();
        let first = lead(flights.join(key()).await);
        let mut second = Box::pin(flights.join(key()));
        let mut third = Box::pin(flights.join(key()));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(first);
        let second = lead(second.await);
        assert!(futures_util::poll!(&mut third).is_pending());
        second.land(Bytes::new());
        assert!(matches!(third.await, Turn::Follow(_)));
    }

    #[tokio::test]
    async fn nothing_stays_behind() {
        let flights = Flights::default();
        let first = lead(flights.join(key()).await);
        let mut waiting = Box::pin(flights.join(key()));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(first);
        assert_eq!(flights.lock().len(), 1);
        // Cancelled while it waits.
        drop(waiting);
        assert!(flights.lock().is_empty());

        drop(lead(flights.join(key()).await));
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn an_abandoned_flight_takes_nobody_on() {
        let flights = Flights::default();
        let old = lead(flights.join(key()).await);
        flights.abandon(&key());
        assert!(old.is_abandoned());
        let new = lead(flights.join(key()).await);
        assert!(!new.is_abandoned());
        // The old one does not take the new one's place away.
        old.land(Bytes::new());
        assert_eq!(flights.lock().len(), 1);
    }
}
