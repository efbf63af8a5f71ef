//! What was purged: the purge log as a map that tells whether an entry still holds.
//!
//! The log is a list of records with ids `epoch-count`: the epoch is that of the log, the count goes up by one with each
//! purge. An entry carries the place in the log that was known before it was made. It holds as long as no later record
//! names one of its tags; no clock is involved. An entry of another epoch never holds.

use std::collections::HashMap;

use super::life::{Seq, Tag};

/// The records of one epoch, as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct Purges {
    place: Place,
    /// Entries that knew less than this many records cannot be judged, and count as purged.
    floor: u64,
    all: Mark,
    tags: HashMap<Tag, Mark>,
}

/// Where the reader of a log is: the last record it has read, and the token by which it knows that record again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) seq: Seq,
    pub(crate) token: Token,
}

/// What tells a record from every other that ever had its id.
pub(crate) type Token = [u8; 8];

/// The last records that name something.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    hard: u64,
    soft: u64,
    soft_at_ms: u64,
}

/// What a record asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing: it begins an epoch.
    Begin,
    /// The entries must not be used again.
    Hard,
    /// The entries are stale from now on.
    Soft,
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Purged {
    pub(crate) seq: Seq,
    pub(crate) order: Order,
    /// When it was written, in Unix milliseconds of the server.
    pub(crate) at_ms: u64,
}

/// What a purge names; no tags stand for everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) mode: Mode,
    pub(crate) token: Token,
    pub(crate) tags: Vec<Tag>,
}

/// Whether an entry was purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was not.
    Holds,
    /// It is stale since then, in Unix milliseconds of the server.
    StaleSince(u64),
    /// It must not be used.
    Gone,
}

impl Purges {
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Takes note of the next record.
    pub(crate) fn apply(&mut self, record: &Purged) {
        let Seq { epoch, count } = record.seq;
        if self.place.seq.epoch != epoch {
            *self = Self {
                // What was before the first record that is left is not known.
                floor: count.saturating_sub(1),
                ..Self::default()
            };
        }
        self.place = Place {
            seq: record.seq,
            token: record.order.token,
        };
        if record.order.mode == Mode::Begin {
            return;
        }
        if record.order.tags.is_empty() {
            self.all.set(record);
        }
        for tag in &record.order.tags {
            if self.tags.len() >= MOST_TAGS && !self.tags.contains_key(tag) {
                self.forget_half();
            }
            self.tags.entry(*tag).or_default().set(record);
        }
    }

    /// Forgets the older half of what was purged: what is older than the last of it counts as purged from now on.
    fn forget_half(&mut self) {
        let mut counts: Vec<u64> = self.tags.values().map(Mark::last).collect();
        let middle = counts.len() / 2;
        let (_, middle, _) = counts.select_nth_unstable(middle);
        let floor = *middle;
        self.tags.retain(|_, mark| mark.last() > floor);
        self.floor = self.floor.max(floor);
    }

    /// Whether an entry that was made at `seq` and has these tags still holds.
    pub(crate) fn judge(&self, seq: Seq, tags: impl IntoIterator<Item = Tag>) -> Verdict {
        if seq.epoch != self.place.seq.epoch || seq.count < self.floor {
            return Verdict::Gone;
        }
        // Nothing was purged since: the usual case.
        if seq.count >= self.place.seq.count {
            return Verdict::Holds;
        }
        let mut verdict = self.all.judge(seq);
        for mark in tags.into_iter().filter_map(|tag| self.tags.get(&tag)) {
            verdict = match (verdict, mark.judge(seq)) {
                (Verdict::Gone, _) | (_, Verdict::Gone) => return Verdict::Gone,
                (Verdict::StaleSince(one), Verdict::StaleSince(other)) => {
                    Verdict::StaleSince(one.min(other))
                }
                (stale @ Verdict::StaleSince(_), Verdict::Holds)
                | (Verdict::Holds, stale @ Verdict::StaleSince(_)) => stale,
                (Verdict::Holds, Verdict::Holds) => Verdict::Holds,
            };
        }
        verdict
    }
}

impl Mark {
    fn last(&self) -> u64 {
        self.hard.max(self.soft)
    }

    fn set(&mut self, record: &Purged) {
        if record.order.mode == Mode::Hard {
            self.hard = record.seq.count;
        } else {
            self.soft = record.seq.count;
            self.soft_at_ms = record.at_ms;
        }
    }

    fn judge(&self, seq: Seq) -> Verdict {
        if self.hard > seq.count {
            Verdict::Gone
        } else if self.soft > seq.count {
            Verdict::StaleSince(self.soft_at_ms)
        } else {
            Verdict::Holds
        }
    }
}

impl Order {
    /// A letter, the token, and eight bytes for each tag.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mode = match self.mode {
            Mode::Begin => b'b',
            Mode::Hard => b'h',
            Mode::Soft => b's',
        };
        let tags = self.tags.iter().flat_map(|tag| tag.0.to_le_bytes());
        [mode].into_iter().chain(self.token).chain(tags).collect()
    }

    /// A record that cannot be read stands for everything: it may be a newer program's, and purges too much at worst.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let read = || {
            let (mode, rest) = bytes.split_first()?;
            let mode = match mode {
                b'b' => Mode::Begin,
                b'h' => Mode::Hard,
                b's' => Mode::Soft,
                _ => return None,
            };
            let (token, tags) = rest.split_first_chunk()?;
            if tags.len() % 8 != 0 {
                return None;
            }
            let tags = tags.chunks_exact(8).filter_map(|tag| tag.try_into().ok());
            Some(Self {
                mode,
                token: *token,
                tags: tags.map(|tag| Tag(u64::from_le_bytes(tag))).collect(),
            })
        };
        read().unwrap_or(Self {
            mode: Mode::Hard,
            token: Token::default(),
            tags: Vec::new(),
        })
    }
}

/// How many tags are told apart: some 20 MB.
const MOST_TAGS: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(epoch: u64, count: u64, mode: Mode, tags: &[u64]) -> Purged {
        Purged {
            seq: Seq { epoch, count },
            order: Order {
                mode,
                token: *b"01234567",
                tags: tags.iter().copied().map(Tag).collect(),
            },
            at_ms: 1000 + count,
        }
    }

    fn log(records: &[Purged]) -> Purges {
        let mut purges = Purges::default();
        for record in records {
            purges.apply(record);
        }
        purges
    }

    fn at(epoch: u64, count: u64) -> Seq {
        Seq { epoch, count }
    }

    #[test]
    fn a_purge_takes_what_was_made_before_it_and_has_its_tag() {
        let purges = log(&[
            record(1, 0, Mode::Begin, &[]),
            record(1, 1, Mode::Hard, &[7]),
            record(1, 2, Mode::Soft, &[8]),
        ]);
        assert_eq!(purges.judge(at(1, 0), [Tag(7)]), Verdict::Gone);
        assert_eq!(purges.judge(at(1, 0), [Tag(6), Tag(7)]), Verdict::Gone);
        assert_eq!(purges.judge(at(1, 1), [Tag(7)]), Verdict::Holds);
        assert_eq!(purges.judge(at(1, 0), [Tag(6)]), Verdict::Holds);
        assert_eq!(purges.judge(at(1, 0), []), Verdict::Holds);
        assert_eq!(purges.judge(at(1, 1), [Tag(8)]), Verdict::StaleSince(1002));
        assert_eq!(purges.judge(at(1, 0), [Tag(8), Tag(7)]), Verdict::Gone);
        assert_eq!(purges.judge(at(1, 2), [Tag(8)]), Verdict::Holds);
    }

    #[test]
    fn a_purge_of_all_takes_everything_before_it() {
        let purges = log(&[
            record(1, 0, Mode::Begin, &[]),
            record(1, 1, Mode::Hard, &[]),
        ]);
        assert_eq!(purges.judge(at(1, 0), []), Verdict::Gone);
        assert_eq!(purges.judge(at(1, 1), []), Verdict::Holds);
    }

    #[test]
    fn nothing_of_another_epoch_holds() {
        let mut purges = log(&[record(5, 0, Mode::Begin, &[])]);
        assert_eq!(purges.judge(at(5, 0), []), Verdict::Holds);
        assert_eq!(purges.judge(at(4, 9), []), Verdict::Gone);
        assert_eq!(purges.judge(Seq::default(), []), Verdict::Gone);
        purges.apply(&record(4, 0, Mode::Begin, &[]));
        assert_eq!(purges.judge(at(5, 0), []), Verdict::Gone);
    }

    #[test]
    fn what_is_older_than_the_records_that_are_left_is_gone() {
        let purges = log(&[record(1, 8, Mode::Hard, &[7])]);
        assert_eq!(purges.judge(at(1, 6), [Tag(1)]), Verdict::Gone);
        assert_eq!(purges.judge(at(1, 7), [Tag(1)]), Verdict::Holds);
        assert_eq!(purges.judge(at(1, 7), [Tag(7)]), Verdict::Gone);
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_gone() {
        let mut purges = log(&[record(1, 0, Mode::Begin, &[])]);
        let last = MOST_TAGS as u64 + 1;
        for count in 1..=last {
            purges.apply(&record(1, count, Mode::Hard, &[count]));
        }
        assert!(purges.tags.len() <= MOST_TAGS);
        let middle = last / 2;
        assert_eq!(
            purges.judge(at(1, middle - 1), [Tag(last + 1)]),
            Verdict::Gone
        );
        // The younger half is known as ever.
        assert_eq!(
            purges.judge(at(1, middle + 1), [Tag(last + 1)]),
            Verdict::Holds
        );
        assert_eq!(
            purges.judge(at(1, last - 2), [Tag(last - 1)]),
            Verdict::Gone
        );
        assert_eq!(purges.judge(at(1, last), [Tag(last)]), Verdict::Holds);
    }

    proptest! {
        #[test]
        fn an_order_is_read_as_written(
            mode in prop_oneof![Just(Mode::Begin), Just(Mode::Hard), Just(Mode::Soft)],
            token in any::<[u8; 8]>(),
            tags in proptest::collection::vec(any::<u64>().prop_map(Tag), 0..5),
        ) {
            let order = Order { mode, token, tags };
            prop_assert_eq!(Order::decode(&order.encode()), order);
        }

        #[test]
        fn what_cannot_be_read_purges_everything(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let order = Order::decode(&bytes);
            prop_assert!(order.encode() == bytes || (order.mode == Mode::Hard && order.tags.is_empty()));
        }

        #[test]
        fn it_agrees_with_a_list_of_all_purges(
            purges in proptest::collection::vec((any::<bool>(), proptest::collection::vec(0u64..4, 0..3)), 0..12),
            made in 0u64..12,
            tags in proptest::collection::vec(0u64..4, 0..3),
        ) {
            let records: Vec<_> = purges
                .iter()
                .zip(1..)
                .map(|((soft, tags), count)| record(1, count, if *soft { Mode::Soft } else { Mode::Hard }, tags))
                .collect();
            let mut known = vec![record(1, 0, Mode::Begin, &[])];
            known.extend(records.iter().cloned());
            let later = records.iter().filter(|record| {
                let named = &record.order.tags;
                record.seq.count > made && (named.is_empty() || named.iter().any(|tag| tags.contains(&tag.0)))
            });
            let modes: Vec<_> = later.map(|record| record.order.mode).collect();
            let verdict = log(&known).judge(at(1, made), tags.into_iter().map(Tag));
            prop_assert_eq!(verdict == Verdict::Gone, modes.contains(&Mode::Hard));
            prop_assert_eq!(verdict == Verdict::Holds, modes.is_empty());
        }
    }
}
