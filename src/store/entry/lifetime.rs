//! How long an entry may be used.

use std::time::Duration;

use super::{log_position::Seq, tag::Tag};

/// The deadlines of an entry, its place in the purge log, and its tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Life {
    /// When it was received, in milliseconds of Unix time.
    pub(crate) born_ms: u64,
    /// How long it is fresh, counted from an age of zero.
    pub(crate) lifetime_ms: u64,
    /// Its age when it was received.
    pub(crate) initial_age_ms: u64,
    /// How long past its lifetime it may be used while a new one is being made (RFC 5861 §3).
    pub(crate) swr_ms: u64,
    /// How long past its lifetime it may be used when no new one can be made (RFC 5861 §4).
    pub(crate) sie_ms: u64,
    /// How long past its lifetime it is kept, to be validated.
    pub(crate) keep_ms: u64,
    /// How long it took to make.
    pub(crate) cost_ms: u64,
    /// Whether its handler set its times, in place of the response's own fields.
    pub(crate) is_told: bool,
    /// The place in the purge log that was known before it was made.
    pub(crate) seq: Seq,
    /// The tags by which a purge may name it.
    pub(crate) tags: Vec<Tag>,
}

impl Life {
    /// The age at `now_ms`. A clock that is behind that of the process that stored the entry does not make it younger than it was then.
    pub(crate) fn age_ms(&self, now_ms: u64) -> u64 {
        self.initial_age_ms
            .saturating_add(now_ms.saturating_sub(self.born_ms))
    }

    /// How long past its lifetime it may still be of use.
    pub(crate) fn grace_ms(&self) -> u64 {
        self.swr_ms.max(self.sie_ms).max(self.keep_ms)
    }

    /// How long Redis is to keep it, counted from when it was received; `None` when it is of no use by then.
    pub(crate) fn ttl(&self) -> Option<Duration> {
        let end = self.lifetime_ms.saturating_add(self.grace_ms());
        let left = end.saturating_sub(self.initial_age_ms);
        (left > 0).then(|| Duration::from_millis(left))
    }
}
