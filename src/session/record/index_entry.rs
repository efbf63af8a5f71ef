//! What the list of a user's sessions is told of one of them.

use std::time::Duration;

use crate::session::credential::token::Token;

/// What the list of a user has to know of a session that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) user: String,
    /// The absolute end, in Unix milliseconds.
    pub(crate) end: i64,
    /// When its login was listed, by the clock of the list's server.
    pub(crate) listed_at: i64,
}

/// A login's place in the list of its user, which is given back unless it is confirmed.
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
    /// How long the browser is to keep it.
    pub(crate) remembered: Option<Duration>,
    pub(crate) place: Option<Reservation>,
}
