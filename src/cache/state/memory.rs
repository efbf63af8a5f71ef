//! What a process remembers between requests to save round trips. It may be dropped at any time.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::store::{Digest, Variants};

/// Shared by all clones of a layer.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Remembered>>);

#[derive(Default)]
struct Remembered {
    /// For each resource, the list of `Vary` fields that was read last.
    variants: HashMap<Digest, Variants>,
    /// For each list, the variants that this process has stored, and until when, in Unix milliseconds.
    stored: HashMap<Digest, HashMap<Digest, u64>>,
}

impl Memory {
    pub(crate) fn variants(&self, resource: &Digest) -> Option<Variants> {
        self.lock().variants.get(resource).cloned()
    }

    pub(crate) fn learn(&self, resource: Digest, variants: &Variants) {
        let mut all = self.lock();
        if all.variants.get(&resource) != Some(variants) {
            insert(&mut all.variants, resource, variants.clone());
        }
    }

    /// Whether a `variant` of a `group` may be stored for `ttl`: at most [`MOST_VARIANTS`] are.
    pub(crate) fn admits(
        &self,
        group: Digest,
        variant: Digest,
        now_ms: u64,
        ttl: Duration,
    ) -> bool {
        let mut all = self.lock();
        if !all.stored.contains_key(&group) {
            insert(&mut all.stored, group, HashMap::new());
        }
        let known = all.stored.entry(group).or_default();
        if known.len() >= MOST_VARIANTS && !known.contains_key(&variant) {
            known.retain(|_, until_ms| *until_ms > now_ms);
            if known.len() >= MOST_VARIANTS {
                return false;
            }
        }
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        known.insert(variant, now_ms.saturating_add(ttl_ms));
        true
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clears a map that is full: its content is soon learned again.
fn insert<K: Eq + Hash, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() >= MOST_RESOURCES {
        map.clear();
    }
    map.insert(key, value);
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

/// The most variants of one resource that one process stores.
pub(crate) const MOST_VARIANTS: usize = 32;
const MOST_RESOURCES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::key::resource;

    fn digest(number: usize) -> Digest {
        resource("host", &format!("/{number}"), None)
    }

    #[test]
    fn there_are_only_so_many_variants() {
        let memory = Memory::default();
        let admits = |group, variant, now_ms| {
            memory.admits(
                digest(group),
                digest(variant),
                now_ms,
                Duration::from_secs(1),
            )
        };
        for number in 0..MOST_VARIANTS {
            assert!(admits(0, number, 0));
        }
        assert!(!admits(0, MOST_VARIANTS, 0));
        assert!(admits(0, 3, 500));
        assert!(admits(1, MOST_VARIANTS, 0));
        // Expired variants make room.
        assert!(admits(0, MOST_VARIANTS, 1000));
        assert!(!memory.lock().stored[&digest(0)].contains_key(&digest(4)));
        assert!(memory.lock().stored[&digest(0)].contains_key(&digest(3)));
    }

    #[test]
    fn memory_is_bounded() {
        let memory = Memory::default();
        for number in 0..3 * MOST_RESOURCES {
            memory.admits(digest(number), digest(0), 0, Duration::ZERO);
        }
        assert!(memory.lock().stored.len() <= MOST_RESOURCES);
    }
}
