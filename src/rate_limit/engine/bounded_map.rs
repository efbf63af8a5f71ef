//! A map with bounded size that drops its oldest entries.

use std::{collections::HashMap, hash::Hash, mem};

/// A map with a bounded number of keys.
///
/// It has two halves. Inserts go to the young half. When it is full, it replaces the old half, and the entries of the
/// old half are dropped.
#[derive(Debug)]
pub(crate) struct BoundedMap<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash, V: Clone> BoundedMap<K, V> {
    /// Holds at most `keys`.
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

    /// All values, the young half last. A key may occur twice.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.old.values().chain(self.young.values())
    }
}
