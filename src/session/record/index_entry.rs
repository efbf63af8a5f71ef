//! Entries in the index of a user's sessions, and the result of a login that made one.

use std::time::Duration;

use crate::session::credential::token::Token;

/// What a check of the user's index needs to know of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) user: String,
    /// The absolute end, in Unix milliseconds.
    pub(crate) end: i64,
    /// When its login was added to the index, by the clock of the index's server.
    pub(crate) listed_at: i64,
}

/// A login's place in the index of its user. It expires unless the login is confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    pub(crate) user: String,
    pub(crate) id: String,
    /// How long the session may live, in milliseconds.
    pub(crate) life: i64,
    pub(crate) listed_at: i64,
}

/// A session that was begun for a login.
pub(crate) struct NewSession {
    pub(crate) token: Token,
    /// How long the browser keeps the cookie; none for until it closes.
    pub(crate) remembered: Option<Duration>,
    pub(crate) reservation: Option<Reservation>,
}
