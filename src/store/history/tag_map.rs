//! Maps by tags.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
};

use crate::store::entry::tag::Tag;

/// A map by tags. A tag is a part of a digest: a cheap hash is enough.
pub(crate) type TagMap<T> = HashMap<Tag, T, Mix>;

/// Multiplies with a random number. Clients can search for names with similar tags, but they do not know the products:
/// they cannot make names collide in the map.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    offset: u64,
    factor: u64,
}

#[derive(Debug)]
pub(crate) struct Mixer {
    mix: Mix,
    hash: u64,
}

impl Default for Mix {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            offset: random.hash_one(0),
            factor: random.hash_one(1) | 1,
        }
    }
}

impl BuildHasher for Mix {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        Mixer {
            mix: self.clone(),
            hash: 0,
        }
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let number = self.hash ^ number ^ self.mix.offset;
        let product = u128::from(number) * u128::from(self.mix.factor);
        self.hash = (product >> 64) as u64 ^ product as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_are_alike_are_told_apart() {
        let mut map = TagMap::default();
        for number in 0..10_000u64 {
            map.insert(Tag(number << 48), number);
            map.insert(Tag(number), number);
        }
        assert!((1..10_000u64).all(|number| map[&Tag(number << 48)] == number));
        let hash = |number: u64| map.hasher().hash_one(Tag(number));
        let low: std::collections::HashSet<u64> = (0..10_000u64)
            .map(|number| hash(number << 48) % (1 << 16))
            .collect();
        assert!(low.len() > 5_000, "{}", low.len());
    }
}
