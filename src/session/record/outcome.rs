//! What a request holds of a session, and what became of a guarded write.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::session::credential::token::Token;

/// A token, and the lineage that it was once proved to belong to (empty as long as it was not).
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) token: Token,
    pub(crate) lineage: Bytes,
    /// Whose session a read found it to be; nobody as long as there was none.
    pub(crate) user: Option<Arc<str>>,
}

impl Held {
    pub(crate) fn unproved(token: Token) -> Self {
        Self {
            token,
            lineage: Bytes::new(),
            user: None,
        }
    }

    /// A token that was just made, of a session of nobody.
    pub(crate) fn made(token: Token) -> Self {
        Self {
            lineage: token.lineage(),
            token,
            user: None,
        }
    }
}

/// What the list of a user has to know of a session that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) user: String,
    /// The absolute end, in Unix milliseconds.
    pub(crate) end: i64,
    /// When its login was listed, by the clock of the list's server.
    pub(crate) listed_at: i64,
}

/// A login's place in the list of its user, which is given back unless it is confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) user: String,
    pub(crate) id: String,
    /// How long the session may live, in milliseconds.
    pub(crate) life: i64,
    pub(crate) listed_at: i64,
}

/// A session that was begun for a login.
pub(crate) struct Begun {
    pub(crate) token: Token,
    /// How long the browser is to keep it.
    pub(crate) remembered: Option<Duration>,
    pub(crate) place: Option<Place>,
}

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
    pub(crate) listing: Option<Listing>,
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
