//! Which stored answers the handler lately failed to make anew. It is asked for them by one request at a time, with a pause.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::store::Digest;

/// Shared by all clones of a layer. All of it can be forgotten: the handler is asked once more then.
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
    /// Nobody asks before this.
    until: Instant,
    is_probed: bool,
    /// How often in a row another process had the right to ask.
    yielded: u8,
}

/// What a request may do for which a stored answer can stand in.
#[derive(Debug)]
pub(crate) enum Leave {
    /// Ask the handler as usual: nothing is known of a failure.
    Ask,
    /// Ask the handler for all others, which meanwhile do not wait.
    Probe(Probe),
    /// Use what is stored.
    Wait,
}

/// The right to ask, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Probe {
    failures: Failures,
    key: Digest,
}

impl Failures {
    /// Takes note that the handler failed, and that it is not to be asked for the length of `pause`.
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

    /// The handler gave an answer.
    pub(crate) fn forget(&self, key: &Digest) {
        self.lock().remove(key);
    }

    /// What to do when `stands_in` says that after a failure of this kind the stored answer may be used.
    pub(crate) fn leave(
        &self,
        key: &Digest,
        now: Instant,
        stands_in: impl FnOnce(Kind) -> bool,
    ) -> Leave {
        let mut all = self.lock();
        let Some(failure) = all.get_mut(key) else {
            return Leave::Ask;
        };
        if !stands_in(failure.kind) {
            return Leave::Ask;
        }
        if failure.is_probed || now < failure.until {
            return Leave::Wait;
        }
        failure.is_probed = true;
        Leave::Probe(Probe {
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
    /// Another process seems to be asking. True if this one is to wait as after a failure; false if it has done so a few
    /// times and is to ask: the other process may be gone, or Redis may refuse to say.
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
        let leave = |now| failures.leave(&key(1), now, |_| true);
        assert!(matches!(leave(now), Leave::Ask));
        failures.note(&key(1), Kind::Status, now, PAUSE);
        assert!(matches!(leave(now), Leave::Wait));
        let Leave::Probe(probe) = leave(now + PAUSE) else {
            panic!("nobody asks");
        };
        assert!(matches!(leave(now + 10 * PAUSE), Leave::Wait));
        failures.note(&key(1), Kind::Status, now + PAUSE, PAUSE);
        drop(probe);
        assert!(matches!(leave(now + PAUSE), Leave::Wait));
        // Who goes away without an answer leaves the right to the next one.
        for _ in 0..3 {
            assert!(matches!(leave(now + 2 * PAUSE), Leave::Probe(_)));
        }
        failures.forget(&key(1));
        assert!(matches!(leave(now), Leave::Ask));
    }

    #[test]
    fn it_depends_on_the_failure_what_may_stand_in() {
        let (failures, now) = (Failures::default(), Instant::now());
        failures.note(&key(1), Kind::Service, now, PAUSE);
        let leave = |kind| failures.leave(&key(1), now, |seen| seen == kind);
        assert!(matches!(leave(Kind::Service), Leave::Wait));
        assert!(matches!(leave(Kind::Status), Leave::Ask));
    }

    #[test]
    fn another_process_is_waited_for_a_few_times() {
        let (failures, now) = (Failures::default(), Instant::now());
        failures.note(&key(1), Kind::Status, now, Duration::ZERO);
        let Leave::Probe(probe) = failures.leave(&key(1), now, |_| true) else {
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
