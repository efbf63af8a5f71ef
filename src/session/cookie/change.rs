//! What a response changes in the browser's cookie.

use std::time::Duration;

use crate::session::credential::token::Token;

/// What the response does with the browser's cookie.
#[derive(Clone)]
pub(crate) enum CookieChange {
    /// Sets this token, with this lifetime or until the browser closes.
    Set(Token, Option<Duration>),
    Remove,
}
