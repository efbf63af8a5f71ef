//! What unsafe requests invalidated (RFC 9111 §4.4), in a bounded number of bytes.
//!
//! Clients choose the names, and how many there are. The newest names are kept one by one. The older ones go into Bloom
//! filters, one for each generation. A filter never misses a name. It also reports about one in ten thousand names that
//! it does not have: that response is made once more. When there are too many filters, the oldest one is dropped, and
//! responses that were made before its last record count as invalidated.

use std::collections::VecDeque;

use super::tag_map::TagMap;
use crate::store::entry::tag::Tag;

/// The names in the records of unsafe requests, each with the count of its last record.
#[derive(Debug)]
pub(crate) struct Invalidations {
    /// How many names are kept one by one.
    most: usize,
    recent: TagMap<u64>,
    /// From the oldest to the newest.
    generations: VecDeque<Generation>,
    /// Responses that were made when fewer records than this were known count as invalidated.
    floor: u64,
}

/// Names whose last record was at `last` or before it.
#[derive(Debug)]
struct Generation {
    last: u64,
    bits: Box<[u64]>,
}

impl Invalidations {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(2),
            recent: TagMap::default(),
            generations: VecDeque::new(),
            floor: 0,
        }
    }

    /// Adds a name from a record with this count, which is not lower than those before it.
    pub(crate) fn set(&mut self, tag: Tag, count: u64) {
        if self.recent.len() >= self.most && !self.recent.contains_key(&tag) {
            self.end_generation();
        }
        self.recent.insert(tag, count);
    }

    /// Whether a record after the first `count` ones names one of `tags`.
    pub(crate) fn has(&self, count: u64, tags: impl IntoIterator<Item = Tag>) -> bool {
        let is_named = |tag| {
            let later = self.generations.iter().rev();
            let mut later = later.take_while(|generation| generation.last > count);
            self.recent.get(&tag).is_some_and(|last| *last > count)
                || later.any(|generation| generation.has(tag))
        };
        count < self.floor || tags.into_iter().any(is_named)
    }

    /// Puts the older half of the names that are kept one by one into a filter.
    fn end_generation(&mut self) {
        let mut counts: Vec<u64> = self.recent.values().copied().collect();
        let middle = counts.len() / 2;
        let (_, last, _) = counts.select_nth_unstable(middle);
        let mut generation = Generation::new(*last, self.most);
        self.recent.retain(|tag, count| {
            let is_newer = *count > generation.last;
            if !is_newer {
                generation.add(*tag);
            }
            is_newer
        });
        self.generations.push_back(generation);
        if self.generations.len() > MOST_GENERATIONS {
            if let Some(oldest) = self.generations.pop_front() {
                self.floor = oldest.last;
            }
        }
    }
}

impl Generation {
    /// Has room for `most` names; usually half as many are added.
    fn new(last: u64, most: usize) -> Self {
        let words = (most * BITS_A_NAME / 64).next_power_of_two();
        Self {
            last,
            bits: vec![0; words].into_boxed_slice(),
        }
    }

    fn add(&mut self, tag: Tag) {
        for (word, bit) in places(tag, self.bits.len()) {
            self.bits[word] |= bit;
        }
    }

    fn has(&self, tag: Tag) -> bool {
        places(tag, self.bits.len()).all(|(word, bit)| self.bits[word] & bit != 0)
    }
}

/// The bits of a name, as words and masks. A tag is a hash already: all bits are computed from its two halves (Kirsch,
/// Mitzenmacher, "Less hashing, same performance", 2006).
fn places(tag: Tag, words: usize) -> impl Iterator<Item = (usize, u64)> {
    let (first, step) = (tag.0, (tag.0 >> 32) | 1);
    (0..PROBES).map(move |probe| {
        let place = first.wrapping_add(step.wrapping_mul(probe));
        ((place / 64) as usize & (words - 1), 1 << (place % 64))
    })
}

/// With half as many names as a filter has room for, about one in ten thousand other names is reported.
const BITS_A_NAME: usize = 10;
const PROBES: u64 = 8;
/// With 200,000 names kept one by one: 4 MB, and 1.6 million names.
const MOST_GENERATIONS: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::entry::key::KeyBuilder;

    fn tag(number: u64) -> Tag {
        let key = KeyBuilder::new("test").part(&number.to_le_bytes()).finish();
        Tag::of_group(&key)
    }

    /// The names `numbers`, each in a record with the number as its count.
    fn filled(most: usize, numbers: std::ops::RangeInclusive<u64>) -> Invalidations {
        let mut invalidations = Invalidations::new(most);
        for number in numbers {
            invalidations.set(tag(number), number);
        }
        invalidations
    }

    #[test]
    fn what_was_named_is_outdated_and_what_was_not_is_not() {
        const MOST: usize = 1000;
        let names = MOST as u64 * 8;
        let invalidations = filled(MOST, 1..=names);
        assert!(invalidations.recent.len() <= MOST);
        for number in 1..=names {
            assert!(invalidations.has(number - 1, [tag(number)]), "{number}");
        }
        // A response that was made after the last record.
        assert!((1..=names).all(|number| !invalidations.has(names, [tag(number)])));
        // Responses that were made before all records and never named: all were forgotten when there were too many names.
        let others = names + 1..=names + 10_000;
        let wrong = others
            .filter(|other| invalidations.has(0, [tag(*other)]))
            .count();
        assert!(wrong < 100, "{wrong} of 10,000");
    }

    #[test]
    fn a_million_names_take_little_memory_and_leave_the_others() {
        const MOST: usize = 20_000;
        let mut invalidations = filled(MOST, 1..=100_000);
        let others: Vec<Tag> = (1..=1000).map(|number| tag(u64::MAX - number)).collect();
        let wrong = |invalidations: &Invalidations, count| {
            let others = others.iter();
            others
                .filter(|other| invalidations.has(count, [**other]))
                .count()
        };
        assert!(wrong(&invalidations, 0) <= 10);
        for number in 100_001..=1_000_000 {
            invalidations.set(tag(number), number);
        }
        let bytes = invalidations
            .generations
            .iter()
            .map(|one| one.bits.len() * 8);
        assert!(bytes.sum::<usize>() <= MOST_GENERATIONS * 32 * 1024);
        assert!(invalidations.recent.len() <= MOST);
        // What is older than all that is remembered counts as invalidated; later names are still known.
        assert_eq!(wrong(&invalidations, 0), 1000);
        assert!(wrong(&invalidations, 1_000_000 - MOST as u64 * 8) <= 10);
    }

    #[test]
    fn a_record_with_more_names_than_there_is_room_is_not_lost() {
        let mut invalidations = Invalidations::new(4);
        for number in 0..20 {
            invalidations.set(tag(number), 1);
        }
        assert!((0..20).all(|number| invalidations.has(0, [tag(number)])));
        assert!((0..20).all(|number| !invalidations.has(1, [tag(number)])));
    }

    proptest! {
        #[test]
        fn no_record_is_missed(
            most in 2usize..8,
            names in proptest::collection::vec(0u64..30, 0..200),
            made in 0u64..200,
        ) {
            let mut invalidations = Invalidations::new(most);
            for (name, count) in names.iter().zip(1..) {
                invalidations.set(tag(*name), count);
            }
            for name in names.iter().zip(1..).filter(|(_, count)| *count > made).map(|(name, _)| *name) {
                prop_assert!(invalidations.has(made, [tag(name)]));
            }
            prop_assert!(!invalidations.has(names.len() as u64, (0..30).map(tag)));
        }
    }
}
