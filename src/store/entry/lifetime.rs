//! How long an entry may be used, and what takes it out earlier.

use std::time::Duration;

use super::{log_position::Seq, tag::Tag};

/// The deadlines of an entry, and what it depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Life {
    /// When it was received, in milliseconds of Unix time.
    pub(crate) born_ms: u64,
    /// How long it is fresh, counted from an age of zero.
    pub(crate) lifetime_ms: u64,
    /// How old it was when it was received.
    pub(crate) initial_age_ms: u64,
    /// How long past its lifetime it may be used while a new one is being made (RFC 5861 §3).
    pub(crate) swr_ms: u64,
    /// How long past its lifetime it may be used when no new one can be made (RFC 5861 §4).
    pub(crate) sie_ms: u64,
    /// How long past its lifetime it is kept, to be validated.
    pub(crate) keep_ms: u64,
    /// How long it took to make.
    pub(crate) cost_ms: u64,
    /// Whether its maker gave it its times apart from what it says itself.
    pub(crate) is_told: bool,
    /// What was known of the purge log before it was made.
    pub(crate) seq: Seq,
    /// What a purge may name it by.
    pub(crate) tags: Vec<Tag>,
}

impl Life {
    /// The age at `now_ms`. A clock that is behind the one that stored the entry makes it no younger than it was.
    pub(crate) fn age_ms(&self, now_ms: u64) -> u64 {
        self.initial_age_ms
            .saturating_add(now_ms.saturating_sub(self.born_ms))
    }

    /// How much longer than its lifetime it is worth keeping.
    pub(crate) fn grace_ms(&self) -> u64 {
        self.swr_ms.max(self.sie_ms).max(self.keep_ms)
    }

    /// How long Redis is to keep it from when it was received; `None` when it is not worth it.
    pub(crate) fn ttl(&self) -> Option<Duration> {
        let end = self.lifetime_ms.saturating_add(self.grace_ms());
        let left = end.saturating_sub(self.initial_age_ms);
        (left > 0).then(|| Duration::from_millis(left))
    }
}
