//! The keys whose last load failed while there is a stale entry to use instead.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::store::entry::key::Digest;

/// The keys, and when the next attempt is due for each.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<HashMap<Digest, Instant>>);

impl Failures {
    pub(crate) fn note(&self, key: &Digest, pause: Duration) {
        let now = Instant::now();
        let mut all = self.lock();
        if all.len() >= MOST {
            all.retain(|_, due| *due > now);
            if all.len() >= MOST {
                all.clear();
            }
        }
        all.insert(*key, now + pause);
    }

    pub(crate) fn forget(&self, key: &Digest) {
        self.lock().remove(key);
    }

    /// Whether the last load failed.
    pub(crate) fn has(&self, key: &Digest) -> bool {
        self.lock().contains_key(key)
    }

    /// Whether it is too early for another attempt.
    pub(crate) fn is_paused(&self, key: &Digest) -> bool {
        let due = self.lock().get(key).copied();
        due.is_some_and(|due| Instant::now() < due)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Instant>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When there are more keys, all are forgotten: their callers wait for one load after another again.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::key::KeyBuilder;

    fn key(number: u64) -> Digest {
        KeyBuilder::new("test").part(&number.to_le_bytes()).finish()
    }

    #[test]
    fn a_failure_is_known_until_it_is_forgotten_and_its_pause_ends() {
        let failures = Failures::default();
        failures.note(&key(1), Duration::from_secs(60));
        failures.note(&key(2), Duration::ZERO);
        assert!(failures.has(&key(1)) && failures.is_paused(&key(1)));
        assert!(failures.has(&key(2)) && !failures.is_paused(&key(2)));
        assert!(!failures.has(&key(3)) && !failures.is_paused(&key(3)));
        failures.forget(&key(1));
        assert!(!failures.has(&key(1)) && !failures.is_paused(&key(1)));
    }

    #[test]
    fn their_number_is_bounded() {
        let failures = Failures::default();
        for number in 0..3 * MOST as u64 {
            failures.note(&key(number), Duration::from_secs(60));
        }
        assert!(failures.lock().len() <= MOST);
    }
}
