//! The steps of a guarded write, and the replies of the scripts that write or end a session.

use std::time::Duration;

use bytes::Bytes;

use super::index_entry::IndexEntry;

/// One step of a guarded write; the steps of a write happen all or none.
pub(crate) enum Op<'a> {
    /// Only while the field has this stored value, or is absent for an empty one.
    Expect(&'a str, Bytes),
    /// Removes every value. It comes first.
    Clear,
    Set(&'a str, Bytes),
    Remove(&'a str),
    Add(&'a str, i64),
}

/// What became of a guarded write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done(Done),
    /// There is no such record any more, or never was.
    Gone,
    /// The secret was replaced a short while ago, by a login or a rotation.
    Stale,
    /// The record has another secret.
    Unknown,
    /// A field does not have the value expected, but this one.
    Conflict(Bytes),
    /// The session would be larger than it may be.
    Full,
    /// The field to add to is no whole number, or the sum is none of 64 bits.
    NotANumber,
}

/// What a write that happened found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) replaced: bool,
    /// How long the session lives in all, when the browser is to keep its cookie.
    pub(crate) remembered: Option<Duration>,
    pub(crate) user_before: Option<String>,
    pub(crate) lineage: Bytes,
    pub(crate) sum: Bytes,
    /// There when the list of the session's user is to be asked.
    pub(crate) listing: Option<IndexEntry>,
}

/// How the end of a session went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was one of this user, or of nobody.
    Done(Option<String>),
    Gone,
    Stale,
    Unknown,
}
