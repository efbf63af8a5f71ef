//! [`Login`]: what the application says about a login.

use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;

use super::bounds::{MAX_LABEL, MAX_METADATA, MAX_USER};
use crate::error::{Error, Kind};

/// A login: who, on what device, and for how long. For [`Session::login`](crate::session::Session::login), which also
/// takes the user's name alone.
///
/// ```no_run
/// use tower_fred::{Error, Session, session::Login};
///
/// fn log_in(session: &Session, user_agent: &str, remember: bool) -> Result<(), Error> {
///     let login = Login::of("user 7").label("Firefox on Linux").metadata(&user_agent)?;
///     session.login(if remember { login.remembered() } else { login })
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub(crate) user: String,
    pub(crate) label: String,
    pub(crate) metadata: Bytes,
    pub(crate) remembered: bool,
    pub(crate) keeps_values: bool,
    pub(crate) checked_at: Option<Instant>,
    /// When the request of this login itself revoked the user's sessions, by Redis's clock; 0 if it did not. [`OLDEST`]
    /// for a login that is older than any revocation.
    pub(crate) revoked_at: i64,
    /// When this login was added to the user's index, by the clock of the index's server; 0 before.
    pub(crate) listed_at: i64,
}

impl Login {
    /// A login of `user`: a unique name of one of your users, of 1 to [`MAX_USER`](crate::session::MAX_USER) bytes. It
    /// must never become the name of another user.
    pub fn of(user: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            label: String::new(),
            metadata: Bytes::new(),
            remembered: false,
            keeps_values: false,
            checked_at: None,
            revoked_at: 0,
            listed_at: 0,
        }
    }

    /// The label of this session in the user's list, such as the device; cut off after
    /// [`MAX_LABEL`](crate::session::MAX_LABEL) bytes, since it often comes from a request.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        let mut end = self.label.len().min(MAX_LABEL);
        while !self.label.is_char_boundary(end) {
            end -= 1;
        }
        self.label.truncate(end);
        self
    }

    /// More about the device for the user's list of sessions, as JSON.
    ///
    /// # Errors
    ///
    /// A [codec](Error::is_codec) error when it cannot be JSON or is larger than
    /// [`MAX_METADATA`](crate::session::MAX_METADATA) bytes.
    pub fn metadata<T: Serialize + ?Sized>(mut self, metadata: &T) -> Result<Self, Error> {
        let bytes = serde_json::to_vec(metadata).unwrap_or_default();
        if bytes.is_empty() || bytes.len() > MAX_METADATA {
            return Err(Error::new(
                Kind::Codec,
                format!("the metadata of a login must be JSON of at most {MAX_METADATA} bytes"),
            ));
        }
        self.metadata = bytes.into();
        Ok(self)
    }

    /// Keeps the session over the browser's end, for
    /// [`SessionStore::remembered_for`](crate::session::SessionStore::remembered_for) from now. By default the browser
    /// drops the cookie when it ends.
    ///
    /// Only the last login counts: a later login of the same user without this ends it. The session then lives for the
    /// [absolute timeout](crate::session::SessionStore::absolute_timeout) from that login, or as long as it had left if
    /// that is less.
    #[must_use]
    pub fn remembered(mut self) -> Self {
        self.remembered = true;
        self
    }

    /// Keeps the session's values even if it was another user's before. By default they are removed: see
    /// [`Session::login`](crate::session::Session::login).
    ///
    /// For an application in which one person has several users, and whose values say nothing of a user's rights.
    #[must_use]
    pub fn keeping_values(mut self) -> Self {
        self.keeps_values = true;
        self
    }

    /// When the check of the credentials began; default: when the request did.
    ///
    /// A login whose check began before all sessions of the user were
    /// [revoked](crate::session::SessionStore::revoke_all) is refused: the password that it checked may be the old one.
    /// A request that revokes the others itself, by [`Session::revoke_others`](crate::session::Session::revoke_others),
    /// need not say anything.
    #[must_use]
    pub fn checked_at(mut self, instant: Instant) -> Self {
        self.checked_at = Some(instant);
        self
    }

    pub(crate) fn check(self) -> Result<Self, Error> {
        if self.user.is_empty() || self.user.len() > MAX_USER {
            return Err(Error::new(
                Kind::Codec,
                format!("a user of a session must have 1 to {MAX_USER} bytes"),
            ));
        }
        Ok(self)
    }
}

/// As `revoked_at`: any revocation of the user refuses this login.
#[cfg(feature = "tower-sessions-import")]
pub(crate) const OLDEST: i64 = -1;

impl From<String> for Login {
    fn from(user: String) -> Self {
        Self::of(user)
    }
}

impl From<&str> for Login {
    fn from(user: &str) -> Self {
        Self::of(user)
    }
}

impl From<&String> for Login {
    fn from(user: &String) -> Self {
        Self::of(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_cut_between_characters() {
        let login = Login::of("u").label("ä".repeat(MAX_LABEL));
        assert!(login.label.len() <= MAX_LABEL);
        assert!(login.label.chars().all(|letter| letter == 'ä'));
        assert_eq!(Login::of("u").label("phone").label, "phone");
    }

    #[test]
    fn sizes_are_bounded() {
        assert!(Login::of("").check().is_err());
        assert!(Login::of("u".repeat(MAX_USER + 1)).check().is_err());
        assert!(Login::of("u").check().is_ok());
        let large = "m".repeat(MAX_METADATA);
        assert!(Login::of("u").metadata(&large).unwrap_err().is_codec());
    }
}
