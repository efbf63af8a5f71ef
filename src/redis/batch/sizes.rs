//! How large the values of keys are, as far as was seen: large ones would hold up the small ones of their batch.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// Sizes of values. It takes a few kilobytes, whatever the number of keys, so it may forget and mistake a key.
#[derive(Debug)]
pub(crate) struct Sizes {
    hasher: RandomState,
    /// Hashes of keys whose last value was large, each at a place that it determines.
    large: Box<[AtomicU64]>,
    /// A moving average, in bytes.
    mean: AtomicUsize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            large: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            mean: AtomicUsize::new(0),
        }
    }
}

impl Sizes {
    /// Whether the value of `key` is to be read alone.
    pub(crate) fn is_large(&self, key: &str) -> bool {
        let hash = self.hasher.hash_one(key);
        self.place(hash).load(Ordering::Relaxed) == hash
    }

    /// Notes the size of a value that was read.
    pub(crate) fn note(&self, key: &str, bytes: usize) {
        let hash = self.hasher.hash_one(key);
        let place = self.place(hash);
        if bytes > LARGE {
            place.store(hash, Ordering::Relaxed);
        } else if place.load(Ordering::Relaxed) == hash {
            place.store(0, Ordering::Relaxed);
        }
        let mean = self.mean.load(Ordering::Relaxed);
        // A lost update of a concurrent call makes no difference to a mean.
        let next = mean - mean / WEIGHT + bytes / WEIGHT;
        if next != mean {
            self.mean.store(next, Ordering::Relaxed);
        }
    }

    /// How many values of the usual size one reply may have.
    pub(crate) fn most(&self) -> usize {
        let mean = self.mean.load(Ordering::Relaxed).max(1);
        (MOST_BYTES / mean).clamp(FEWEST, MOST)
    }

    fn place(&self, hash: u64) -> &AtomicU64 {
        &self.large[hash as usize % PLACES]
    }
}

/// Larger values are read alone, in bytes.
const LARGE: usize = 16 * 1024;
/// What the reply to one command should have at most, in bytes, when its values have the usual size.
const MOST_BYTES: usize = 256 * 1024;
const FEWEST: usize = 4;
const MOST: usize = 128;
const PLACES: usize = 1024;
const WEIGHT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_large_as_long_as_its_value_is() {
        let sizes = Sizes::default();
        assert!(!sizes.is_large("a"));
        sizes.note("a", LARGE + 1);
        assert!(sizes.is_large("a") && !sizes.is_large("b"));
        sizes.note("a", LARGE);
        assert!(!sizes.is_large("a"));
    }

    #[test]
    fn the_larger_the_values_the_fewer_are_read_together() {
        let sizes = Sizes::default();
        let after = |bytes| {
            for _ in 0..1000 {
                sizes.note("a", bytes);
            }
            sizes.most()
        };
        assert_eq!(after(200), MOST);
        assert!((16..=20).contains(&after(LARGE)));
        assert_eq!(after(1 << 20), FEWEST);
        assert_eq!(after(0), MOST);
    }
}
