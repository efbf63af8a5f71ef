//! What a request holds of a session, and what became of a guarded write.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::token::Token;

/// A token, and the lineage that it was once proved to belong to (empty as long as it was not).
#[derive(Clone)]
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) lineage: Bytes,
    /// Whose session a read found it to be; nobody as long as there was none.
    pub(super) user: Option<Arc<str>>,
}

impl Held {
    pub(super) fn unproved(token: Token) -> Self {
        Self {
            token,
            lineage: Bytes::new(),
            user: None,
        }
    }

    /// A token that was just made, of a session of nobody.
    pub(super) fn made(token: Token) -> Self {
        Self {
            lineage: token.lineage(),
            token,
            user: None,
        }
    }
}

/// What the list of a user has to know of a session that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) user: String,
    /// The absolute end, in Unix milliseconds.
    pub(super) end: i64,
    /// When its login was listed, by the clock of the list's server.
    pub(super) listed_at: i64,
}

/// A login's place in the list of its user, which is given back unless it is confirmed.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) user: String,
    pub(super) id: String,
    /// How long the session may live, in milliseconds.
    pub(super) life: i64,
    pub(super) listed_at: i64,
}

/// A session that was begun for a login.
pub(super) struct Begun {
    pub(super) token: Token,
    /// How long the browser is to keep it.
    pub(super) remembered: Option<Duration>,
    pub(super) place: Option<Place>,
}

/// One step of a guarded write; the steps of a write happen all or none.
pub(super) enum Op<'a> {
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
pub(super) enum Outcome {
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
pub(super) struct Done {
    pub(super) replaced: bool,
    /// How long the session lives in all, when the browser is to keep its cookie.
    pub(super) remembered: Option<Duration>,
    pub(super) user_before: Option<String>,
    pub(super) lineage: Bytes,
    pub(super) sum: Bytes,
    /// There when the list of the session's user is to be asked.
    pub(super) listing: Option<Listing>,
}

/// How the end of a session went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was one of this user, or of nobody.
    Done(Option<String>),
    Gone,
    Stale,
    Unknown,
}
