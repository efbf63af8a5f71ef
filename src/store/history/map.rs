//! The purge log as a map in memory: it tells whether an entry was purged.
//!
//! The log is a list of records with ids `epoch-count`: the epoch is that of the log, and the count goes up by one with
//! each purge. An entry carries the place in the log that was known before it was made. It holds until a later record
//! names one of its tags; no clock is involved. An entry of another epoch does not hold, nor does an entry that was made
//! after a record that the log does not have.

use super::{
    invalidations::Invalidations,
    record::{Mode, PurgeRecord},
    tag_map::TagMap,
    tokens::Tokens,
};
use crate::store::entry::{
    log_position::Seq,
    state::Verdict,
    tag::{Subject, Tag},
};

/// The records of one epoch that are known.
#[derive(Debug)]
pub(crate) struct Purges {
    bounds: Bounds,
    /// The last record that is known.
    last: Seq,
    tokens: Tokens,
    /// Entries that were made when fewer records than this were known count as purged: what came later is forgotten.
    floor: u64,
    all: Mark,
    tags: TagMap<Mark>,
    invalidations: Invalidations,
}

/// How many records and names are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Tags that the application purged: 262,144 take some 20 MB. Beyond that, the older half is forgotten, and entries
    /// that were made before its last purge count as purged.
    pub(crate) tags: usize,
    /// Names in unsafe requests that are kept one by one, see [`Invalidations`]: 200,000 and the older ones in filters take
    /// some 9 MB.
    pub(crate) invalidations: usize,
    /// Records whose token is kept: 2 million take 8 MB. Entries that were made before the first of them count as purged.
    pub(crate) records: usize,
}

/// The counts of the last records that name a tag.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    hard: u64,
    soft: u64,
    soft_at_ms: u64,
}

impl Purges {
    /// A map without records.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            last: Seq::default(),
            tokens: Tokens::new(bounds.records),
            floor: 0,
            all: Mark::default(),
            tags: TagMap::default(),
            invalidations: Invalidations::new(bounds.invalidations),
        }
    }

    /// The last record that is known.
    pub(crate) fn last(&self) -> Seq {
        self.last
    }

    /// Adds the next record. One of another epoch replaces all that was known.
    pub(crate) fn apply(&mut self, record: &PurgeRecord) {
        if self.last.epoch != record.epoch {
            *self = Self::new(self.bounds);
        }
        self.last = record.seq();
        self.tokens.push(record.count, record.order.token);
        let tags = &record.order.tags;
        match record.order.mode {
            Mode::Begin => {}
            Mode::Hard | Mode::Soft if tags.is_empty() => self.all.set(record),
            Mode::Hard | Mode::Soft => {
                for tag in tags {
                    if self.tags.len() >= self.bounds.tags && !self.tags.contains_key(tag) {
                        self.forget_half();
                    }
                    self.tags.entry(*tag).or_default().set(record);
                }
            }
            Mode::Invalidate => {
                for tag in tags {
                    self.invalidations.set(*tag, record.count);
                }
            }
        }
    }

    /// Whether a record is known.
    pub(crate) fn knows(&self, seq: Seq) -> bool {
        seq.epoch == self.last.epoch
            && seq.count <= self.last.count
            && self.tokens.has(seq.count, seq.token)
    }

    /// Adds the records of a read, of which the first ones may be known already: reads may overlap. Adds none and gives
    /// false when they do not follow what is known, since records were lost or trimmed.
    pub(crate) fn extend(&mut self, read: &[PurgeRecord]) -> bool {
        let known = read.iter().position(|record| record.seq() == self.last);
        if let Some(known) = known {
            read[known + 1..]
                .iter()
                .for_each(|record| self.apply(record));
            return true;
        }
        // A read that was overtaken by one that began later.
        read.last().is_some_and(|record| self.knows(record.seq()))
    }

    /// Forgets the older half of the tags: entries that were made before the last of their purges count as purged.
    fn forget_half(&mut self) {
        let mut counts: Vec<u64> = self.tags.values().map(Mark::last).collect();
        let middle = counts.len() / 2;
        let (_, middle, _) = counts.select_nth_unstable(middle);
        let floor = *middle;
        self.tags.retain(|_, mark| mark.last() > floor);
        self.floor = self.floor.max(floor);
    }

    /// Whether an entry that was made at the place `seq` and has these tags was purged.
    pub(crate) fn judge(
        &self,
        seq: Seq,
        subject: Subject,
        tags: impl IntoIterator<Item = Tag> + Clone,
    ) -> Verdict {
        // Nothing was purged since: the usual case.
        if seq == self.last {
            return Verdict::Holds;
        }
        // A failover may have lost the record that it was made after, and another record has the same count now.
        let is_known = seq.epoch == self.last.epoch && self.tokens.has(seq.count, seq.token);
        if !is_known || seq.count < self.floor {
            return Verdict::Gone;
        }
        let is_response = subject == Subject::Response;
        if is_response && self.invalidations.has(seq.count, tags.clone()) {
            return Verdict::Gone;
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

impl Default for Purges {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            tags: 1 << 18,
            invalidations: 200_000,
            records: 1 << 21,
        }
    }
}

impl Mark {
    fn last(&self) -> u64 {
        self.hard.max(self.soft)
    }

    fn set(&mut self, record: &PurgeRecord) {
        if record.order.mode == Mode::Hard {
            self.hard = record.count;
        } else {
            self.soft = record.count;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{entry::key::KeyBuilder, history::record::Order};

    const BOUNDS: Bounds = Bounds {
        tags: 100,
        invalidations: 100,
        records: 10_000,
    };

    fn record(epoch: u64, count: u64, mode: Mode, tags: &[u64]) -> PurgeRecord {
        PurgeRecord {
            epoch,
            count,
            order: Order {
                mode,
                token: at(epoch, count).token,
                tags: tags.iter().copied().map(Tag).collect(),
            },
            at_ms: 1000 + count,
        }
    }

    fn log(records: &[PurgeRecord]) -> Purges {
        let mut purges = Purges::new(BOUNDS);
        for record in records {
            purges.apply(record);
        }
        purges
    }

    /// A place with the token of the [`record`] there.
    fn at(epoch: u64, count: u64) -> Seq {
        Seq {
            epoch,
            count,
            token: (epoch << 32 | count).to_le_bytes(),
        }
    }

    /// Judges a value.
    fn judge(purges: &Purges, seq: Seq, tags: &[u64]) -> Verdict {
        purges.judge(seq, Subject::Value, tags.iter().copied().map(Tag))
    }

    #[test]
    fn a_purge_takes_what_was_made_before_it_and_has_its_tag() {
        let purges = log(&[
            record(1, 0, Mode::Begin, &[]),
            record(1, 1, Mode::Hard, &[7]),
            record(1, 2, Mode::Soft, &[8]),
        ]);
        for (count, tags, verdict) in [
            (0, &[7][..], Verdict::Gone),
            (0, &[6, 7], Verdict::Gone),
            (1, &[7], Verdict::Holds),
            (0, &[6], Verdict::Holds),
            (0, &[], Verdict::Holds),
            (1, &[8], Verdict::StaleSince(1002)),
            (0, &[8, 7], Verdict::Gone),
            (2, &[8], Verdict::Holds),
        ] {
            assert_eq!(
                judge(&purges, at(1, count), tags),
                verdict,
                "{count} {tags:?}"
            );
        }
    }

    #[test]
    fn reads_may_overlap() {
        let records = |counts: std::ops::RangeInclusive<u64>| -> Vec<PurgeRecord> {
            counts
                .map(|count| record(1, count, Mode::Hard, &[count]))
                .collect()
        };
        let mut purges = log(&records(0..=5));
        assert!(purges.extend(&records(5..=5)), "nothing new");
        assert!(purges.extend(&records(3..=8)));
        assert_eq!(purges.last(), at(1, 8));
        assert_eq!(judge(&purges, at(1, 7), &[8]), Verdict::Gone);
        assert!(purges.extend(&records(5..=6)), "overtaken");
        assert_eq!(purges.last(), at(1, 8));
        let mut lost = records(7..=7);
        lost[0].order.token = *b"was lost";
        for other in [
            Vec::new(),
            records(9..=10),
            vec![record(2, 8, Mode::Hard, &[])],
            vec![record(2, 3, Mode::Hard, &[])],
            lost,
        ] {
            assert!(!purges.extend(&other), "{other:?}");
            assert_eq!(purges.last(), at(1, 8));
        }
    }

    #[test]
    fn a_purge_of_all_takes_everything_before_it() {
        let purges = log(&[
            record(1, 0, Mode::Begin, &[]),
            record(1, 1, Mode::Hard, &[]),
        ]);
        assert_eq!(judge(&purges, at(1, 0), &[]), Verdict::Gone);
        assert_eq!(judge(&purges, at(1, 1), &[]), Verdict::Holds);
    }

    #[test]
    fn nothing_of_another_epoch_holds() {
        let mut purges = log(&[record(5, 0, Mode::Begin, &[])]);
        assert_eq!(judge(&purges, at(5, 0), &[]), Verdict::Holds);
        assert_eq!(judge(&purges, at(4, 9), &[]), Verdict::Gone);
        assert_eq!(judge(&purges, at(6, 0), &[]), Verdict::Gone);
        assert_eq!(judge(&purges, Seq::default(), &[]), Verdict::Gone);
        purges.apply(&record(4, 0, Mode::Begin, &[]));
        assert_eq!(judge(&purges, at(5, 0), &[]), Verdict::Gone);
        // An entry that was made before the log was first read holds only while nothing is known of the log.
        assert_eq!(judge(&log(&[]), Seq::default(), &[]), Verdict::Holds);
    }

    #[test]
    fn what_is_older_than_the_records_that_are_left_is_gone() {
        let purges = log(&[
            record(1, 8, Mode::Hard, &[7]),
            record(1, 9, Mode::Hard, &[7]),
        ]);
        assert_eq!(judge(&purges, at(1, 6), &[1]), Verdict::Gone);
        // The record that it was made after is not known: it may be another one than the one before the first.
        assert_eq!(judge(&purges, at(1, 7), &[1]), Verdict::Gone);
        assert_eq!(judge(&purges, at(1, 8), &[1]), Verdict::Holds);
        assert_eq!(judge(&purges, at(1, 8), &[7]), Verdict::Gone);
    }

    /// Regression: an entry that was made after a record that a failover lost counted as newer than the record that got
    /// its count.
    #[test]
    fn what_was_made_with_a_record_that_was_lost_is_gone() {
        let lost = Seq {
            token: *b"was lost",
            ..at(1, 2)
        };
        let mut purges = log(&[
            record(1, 0, Mode::Begin, &[]),
            record(1, 1, Mode::Hard, &[7]),
        ]);
        assert!(lost.is_ahead_of(&purges.last()));
        assert_eq!(judge(&purges, lost, &[1]), Verdict::Gone);
        for count in 2..100 {
            purges.apply(&record(1, count, Mode::Hard, &[7]));
            assert_eq!(judge(&purges, lost, &[1]), Verdict::Gone, "{count}");
            assert_eq!(judge(&purges, at(1, 2), &[1]), Verdict::Holds, "{count}");
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_gone() {
        let mut purges = log(&[record(1, 0, Mode::Begin, &[])]);
        let last = BOUNDS.tags as u64 + 1;
        for count in 1..=last {
            purges.apply(&record(1, count, Mode::Hard, &[count]));
        }
        assert!(purges.tags.len() <= BOUNDS.tags);
        let middle = last / 2;
        let other = [last + 1];
        assert_eq!(judge(&purges, at(1, middle - 1), &other), Verdict::Gone);
        // The newer half is still known.
        assert_eq!(judge(&purges, at(1, middle + 1), &other), Verdict::Holds);
        assert_eq!(judge(&purges, at(1, last - 2), &[last - 1]), Verdict::Gone);
        assert_eq!(judge(&purges, at(1, last), &[last]), Verdict::Holds);
    }

    /// Regression: unsafe requests to many URLs made the map forget what the application had purged.
    #[test]
    fn requests_do_not_make_it_forget_what_the_application_purged() {
        let mut purges = log(&[
            record(1, 0, Mode::Begin, &[]),
            record(1, 1, Mode::Hard, &[7]),
            record(1, 2, Mode::Soft, &[8]),
        ]);
        let spread = |number: u64| {
            let key = KeyBuilder::new("test").part(&number.to_le_bytes()).finish();
            Tag::of_group(&key).0
        };
        let response = |purges: &Purges, seq, tag| purges.judge(seq, Subject::Response, [Tag(tag)]);
        for count in 3..9000 {
            purges.apply(&record(1, count, Mode::Invalidate, &[spread(count)]));
            if count < 500 || count % 1000 == 0 {
                let last = at(1, count - 1);
                assert_eq!(response(&purges, last, spread(count)), Verdict::Gone);
                assert_eq!(judge(&purges, last, &[spread(count)]), Verdict::Holds);
                assert_eq!(judge(&purges, at(1, 2), &[9]), Verdict::Holds);
                assert_eq!(judge(&purges, at(1, 0), &[7]), Verdict::Gone);
                assert_eq!(judge(&purges, at(1, 0), &[8]), Verdict::StaleSince(1002));
            }
            if count == 800 {
                let others = (10_000..11_000)
                    .filter(|other| response(&purges, at(1, 2), spread(*other)) == Verdict::Holds);
                assert!(others.count() > 990, "untouched ones stay");
            }
        }
        assert_eq!(purges.tags.len(), 2);
        // The oldest invalidations are forgotten by then: that concerns responses only.
        assert_eq!(response(&purges, at(1, 2), 9), Verdict::Gone);
    }

    proptest! {
        #[test]
        fn an_order_is_read_as_written(
            mode in prop_oneof![Just(Mode::Begin), Just(Mode::Hard), Just(Mode::Soft), Just(Mode::Invalidate)],
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
            purges in proptest::collection::vec((0..3, proptest::collection::vec(0u64..4, 0..3)), 0..12),
            made in 0u64..12,
            tags in proptest::collection::vec(0u64..4, 0..3),
            is_response in any::<bool>(),
        ) {
            let mode = |number: &i32| [Mode::Hard, Mode::Soft, Mode::Invalidate][*number as usize];
            let records: Vec<_> = purges
                .iter()
                .zip(1..)
                .map(|((number, tags), count)| record(1, count, mode(number), tags))
                .collect();
            let mut known = vec![record(1, 0, Mode::Begin, &[])];
            known.extend(records.iter().cloned());
            let made = made.min(records.len() as u64);
            let later = records.iter().filter(|record| {
                let named = &record.order.tags;
                let is_named = named.iter().any(|tag| tags.contains(&tag.0));
                let by_request = record.order.mode == Mode::Invalidate;
                record.count > made
                    && (is_named || named.is_empty() && !by_request)
                    && (is_response || !by_request)
            });
            let modes: Vec<_> = later.map(|record| record.order.mode).collect();
            let subject = if is_response { Subject::Response } else { Subject::Value };
            let verdict = log(&known).judge(at(1, made), subject, tags.into_iter().map(Tag));
            prop_assert_eq!(verdict == Verdict::Gone, modes.contains(&Mode::Hard) || modes.contains(&Mode::Invalidate));
            prop_assert_eq!(verdict == Verdict::Holds, modes.is_empty());
        }
    }
}
