//! What a response changes in the browser's cookie.

use std::time::Duration;

use crate::session::credential::token::Token;

/// What the response does with the browser's cookie.
#[derive(Clone)]
pub(crate) enum CookieChange {
    /// For this long, or until the browser ends.
    Set(Token, Option<Duration>),
    Remove,
}
