//! The keys whose entries this process is making anew: each once at a time.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::store::entry::key::Digest;

/// The keys whose entries are being made anew by this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Renewals(Arc<Mutex<HashSet<Digest>>>);

impl Renewals {
    /// The right to make the entry of a key anew; `None` when another caller has it.
    pub(crate) fn begin(&self, key: &Digest) -> Option<Renewal> {
        lock(&self.0).insert(*key).then(|| Renewal {
            all: self.clone(),
            key: *key,
        })
    }
}

/// The right to make the entry of a key anew, until it is dropped.
#[derive(Debug)]
pub(crate) struct Renewal {
    all: Renewals,
    key: Digest,
}

impl Drop for Renewal {
    fn drop(&mut self) {
        lock(&self.all.0).remove(&self.key);
    }
}

fn lock(keys: &Mutex<HashSet<Digest>>) -> MutexGuard<'_, HashSet<Digest>> {
    // Nothing panics while it is held.
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::key::KeyBuilder;

    fn key(number: u64) -> Digest {
        KeyBuilder::new("test").part(&number.to_le_bytes()).finish()
    }

    #[test]
    fn each_key_is_renewed_once_at_a_time() {
        let renewals = Renewals::default();
        let first = renewals.begin(&key(1)).expect("the first");
        assert!(renewals.begin(&key(1)).is_none());
        assert!(renewals.begin(&key(2)).is_some());
        drop(first);
        assert!(renewals.begin(&key(1)).is_some());
    }
}
