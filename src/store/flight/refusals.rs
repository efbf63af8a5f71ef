//! The keys whose responses or values turned out not to be storable a moment ago.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::store::entry::key::Digest;

/// The keys for which there was nothing to store a moment ago: callers do not wait for one another.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<Digest, Instant>>);

impl Refusals {
    pub(crate) fn note(&self, key: &Digest, now: Instant) {
        let mut all = self.lock();
        if all.len() >= MOST_REFUSALS {
            all.retain(|_, at| now.saturating_duration_since(*at) < REFUSAL);
            if all.len() >= MOST_REFUSALS {
                all.clear();
            }
        }
        all.insert(*key, now);
    }

    pub(crate) fn has(&self, key: &Digest, now: Instant) -> bool {
        let mut all = self.lock();
        match all.get(key) {
            Some(at) if now.saturating_duration_since(*at) < REFUSAL => true,
            Some(_) => {
                all.remove(key);
                false
            }
            None => false,
        }
    }

    pub(crate) fn forget(&self, key: &Digest) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Instant>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MOST_REFUSALS: usize = 4096;
const REFUSAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::key::KeyBuilder;

    fn key(number: u64) -> Digest {
        KeyBuilder::new("test").part(&number.to_le_bytes()).finish()
    }

    #[test]
    fn a_refusal_is_remembered_briefly() {
        let refusals = Refusals::default();
        let now = Instant::now();
        refusals.note(&key(1), now);
        assert!(refusals.has(&key(1), now));
        assert!(!refusals.has(&key(2), now));
        assert!(!refusals.has(&key(1), now + REFUSAL));
        for number in 0..2 * MOST_REFUSALS as u64 {
            refusals.note(&key(number), now);
        }
        assert!(refusals.lock().len() <= MOST_REFUSALS);
    }
}
