//! A bounded map that forgets what was not used for longest.

use std::{collections::HashMap, hash::Hash, mem};

/// What a bounded number of keys have.
///
/// They live in two halves. When the young half is full it becomes the old one, and what was in that is forgotten:
/// what was not used while many others were.
#[derive(Debug)]
pub(crate) struct BoundedMap<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash, V: Clone> BoundedMap<K, V> {
    /// Room for `keys` at most.
    pub(crate) fn new(keys: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            half: (keys / 2).max(1),
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// All that is known, the most recent last. A key may come twice.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.old.values().chain(self.young.values())
    }
}
