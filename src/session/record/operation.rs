//! The steps of a guarded write, and the replies of the scripts that write or end a session.

use std::time::Duration;

use bytes::Bytes;

use super::index_entry::IndexEntry;

/// One step of a guarded write. Either all steps of a write happen or none.
pub(crate) enum Op<'a> {
    /// Go on only if the field has this stored value; an empty value means that there is no such field.
    Expect(&'a str, Bytes),
    /// Removes every value. It comes first.
    Clear,
    Set(&'a str, Bytes),
    Remove(&'a str),
    Add(&'a str, i64),
}

/// The outcome of a guarded write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done(Done),
    /// There is no such record.
    Gone,
    /// A login or a rotation replaced the secret less than a minute ago.
    Stale,
    /// The record has another secret.
    Unknown,
    /// A field does not have the expected value, but this one.
    Conflict(Bytes),
    /// The session would exceed its number of fields or bytes.
    Full,
    /// The field to add to is no whole number, or the sum does not fit in 64 bits.
    NotANumber,
}

/// What a successful write found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) replaced: bool,
    /// How long a remembered session still lives, for the lifetime of its cookie.
    pub(crate) remembered: Option<Duration>,
    pub(crate) user_before: Option<String>,
    pub(crate) lineage: Bytes,
    pub(crate) sum: Bytes,
    /// Present if the index of the session's user has to be checked.
    pub(crate) index_entry: Option<IndexEntry>,
}

/// The outcome of ending a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It ended; its user, if it had one.
    Done(Option<String>),
    Gone,
    Stale,
    Unknown,
}
