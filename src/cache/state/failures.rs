//! The stored answers that the handler lately failed to refresh. Only one request at a time asks for each of them, with a
//! pause after each failure.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::store::Digest;

/// Shared by all clones of a layer. A failure may be dropped: then the handler is asked once more.
#[derive(Clone, Default)]
pub(crate) struct Failures(Arc<Mutex<HashMap<Digest, Failure>>>);

/// How the handler failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It answered with 500, 502, 503 or 504.
    Status,
    /// The service gave no answer but an error.
    Service,
}

#[derive(Debug)]
struct Failure {
    kind: Kind,
    /// The end of the pause.
    until: Instant,
    is_probed: bool,
    /// How many times in a row another process held the lease.
    yielded: u8,
}

/// What a request may do if a stored answer can be used in place of an error.
#[derive(Debug)]
pub(crate) enum Permission {
    /// Ask the handler as usual: no failure is known for which the stored answer could be used.
    Ask,
    /// Ask the handler. Other requests use the stored answer meanwhile.
    Probe(Probe),
    /// Use the stored answer.
    UseStored,
}

/// The right to ask the handler, until this is dropped.
#[derive(Debug)]
pub(crate) struct Probe {
    failures: Failures,
    key: Digest,
}

impl Failures {
    /// Notes a failure of the handler, which is not asked again for the length of `pause`.
    pub(crate) fn note(&self, key: &Digest, kind: Kind, now: Instant, pause: Duration) {
        let mut all = self.lock();
        if all.len() >= MOST && !all.contains_key(key) {
            all.retain(|_, failure| failure.is_probed || failure.until > now);
            if all.len() >= MOST {
                return;
            }
        }
        let until = now.checked_add(pause).unwrap_or(now);
        let failure = all.entry(*key).or_insert(Failure {
            kind,
            until,
            is_probed: false,
            yielded: 0,
        });
        (failure.kind, failure.until) = (kind, until);
    }

    /// Forgets the failure: the handler gave an answer.
    pub(crate) fn forget(&self, key: &Digest) {
        self.lock().remove(key);
    }

    /// What a request may do. `stands_in` says whether the stored answer may be used after a failure of this kind.
    pub(crate) fn permission(
        &self,
        key: &Digest,
        now: Instant,
        stands_in: impl FnOnce(Kind) -> bool,
    ) -> Permission {
        let mut all = self.lock();
        let Some(failure) = all.get_mut(key) else {
            return Permission::Ask;
        };
        if !stands_in(failure.kind) {
            return Permission::Ask;
        }
        if failure.is_probed || now < failure.until {
            return Permission::UseStored;
        }
        failure.is_probed = true;
        Permission::Probe(Probe {
            failures: self.clone(),
            key: *key,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Failure>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe {
    /// Called when another process holds the lease. True: this process pauses, as after a failure. False: it has paused a few
    /// times and asks now, because the other process may be gone, or Redis may refuse the lease.
    pub(crate) fn yields(&self, now: Instant, pause: Duration) -> bool {
        let mut all = self.failures.lock();
        let Some(failure) = all.get_mut(&self.key) else {
            return false;
        };
        failure.yielded = (failure.yielded + 1) % MOST_YIELDS;
        let yields = failure.yielded != 0;
        if yields {
            failure.until = now.checked_add(pause).unwrap_or(now);
        }
        yields
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(failure) = self.failures.lock().get_mut(&self.key) {
            failure.is_probed = false;
        }
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures").finish_non_exhaustive()
    }
}

const MOST: usize = 4096;
const MOST_YIELDS: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::key::resource;

    const PAUSE: Duration = Duration::from_secs(1);

    fn key(number: usize) -> Digest {
        resource("host", &format!("/{number}"), None)
    }

    #[test]
    fn one_asks_at_a_time_and_then_there_is_a_pause() {
        let (failures, now) = (Failures::default(), Instant::now());
        let permission = |now| failures.permission(&key(1), now, |_| true);
        assert!(matches!(permission(now), Permission::Ask));
        failures.note(&key(1), Kind::Status, now, PAUSE);
        assert!(matches!(permission(now), Permission::UseStored));
        let Permission::Probe(probe) = permission(now + PAUSE) else {
            panic!("nobody asks");
        };
        assert!(matches!(
            permission(now + 10 * PAUSE),
            Permission::UseStored
        ));
        failures.note(&key(1), Kind::Status, now + PAUSE, PAUSE);
        drop(probe);
        assert!(matches!(permission(now + PAUSE), Permission::UseStored));
        // A probe that is dropped without an answer lets the next request ask.
        for _ in 0..3 {
            assert!(matches!(permission(now + 2 * PAUSE), Permission::Probe(_)));
        }
        failures.forget(&key(1));
        assert!(matches!(permission(now), Permission::Ask));
    }

    #[test]
    fn it_depends_on_the_failure_what_may_stand_in() {
        let (failures, now) = (Failures::default(), Instant::now());
        failures.note(&key(1), Kind::Service, now, PAUSE);
        let permission = |kind| failures.permission(&key(1), now, |seen| seen == kind);
        assert!(matches!(permission(Kind::Service), Permission::UseStored));
        assert!(matches!(permission(Kind::Status), Permission::Ask));
    }

    #[test]
    fn another_process_is_waited_for_a_few_times() {
        let (failures, now) = (Failures::default(), Instant::now());
        failures.note(&key(1), Kind::Status, now, Duration::ZERO);
        let Permission::Probe(probe) = failures.permission(&key(1), now, |_| true) else {
            panic!("nobody asks");
        };
        let yields: Vec<bool> = (0..8).map(|_| probe.yields(now, PAUSE)).collect();
        assert_eq!(yields, [true, true, true, false, true, true, true, false]);
    }

    #[test]
    fn memory_is_bounded() {
        let (failures, now) = (Failures::default(), Instant::now());
        for number in 0..3 * MOST {
            failures.note(&key(number), Kind::Status, now, PAUSE);
        }
        assert_eq!(failures.lock().len(), MOST);
        failures.note(&key(3 * MOST), Kind::Status, now + PAUSE, PAUSE);
        assert_eq!(failures.lock().len(), 1);
        failures.note(&key(0), Kind::Status, now, Duration::MAX);
    }
}
