//! The settings of a store.

use std::time::Duration;

use super::codec::Codec;
use crate::session::credential::keys::{Key, Peppers};

/// The settings of a [`SessionStore`](crate::session::SessionStore), with its defaults.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) idle: Duration,
    pub(crate) absolute: Duration,
    pub(crate) remembered: Duration,
    pub(crate) renewal: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) check_interval: Duration,
    pub(crate) most_fields: usize,
    pub(crate) most_bytes: usize,
    pub(crate) per_user: Option<PerUser>,
    pub(crate) realm: Option<String>,
    pub(crate) codec: Codec,
    pub(crate) peppers: Peppers,
    pub(crate) log_key: Option<Key>,
}

/// How many sessions a user may have, and whether a login above that evicts one or is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerUser {
    pub(crate) most: u32,
    pub(crate) evicts: bool,
}

impl Settings {
    pub(crate) fn new() -> Self {
        Self {
            idle: Duration::from_secs(30 * 60),
            absolute: Duration::from_secs(12 * 60 * 60),
            remembered: Duration::from_secs(30 * 24 * 60 * 60),
            renewal: None,
            grace: Duration::from_secs(30),
            check_interval: Duration::from_secs(30),
            most_fields: 128,
            most_bytes: 256 * 1024,
            per_user: None,
            realm: None,
            codec: Codec::default(),
            peppers: Peppers::default(),
            log_key: Key::random(),
        }
    }

    /// How often the use of a session is noted.
    pub(crate) fn touch_interval(&self) -> Duration {
        (self.idle / 10).clamp(Duration::from_millis(1), MAX_TOUCH_INTERVAL)
    }

    /// Whether sessions are treated the same by both. The log key is not compared: by default each store has its own.
    pub(crate) fn agree_with(&self, other: &Self) -> bool {
        let log_key = other.log_key.clone();
        *other
            == Self {
                log_key,
                ..self.clone()
            }
    }
}

/// See [`Settings::touch_interval`].
pub(crate) const MAX_TOUCH_INTERVAL: Duration = Duration::from_secs(60);

/// # Panics
///
/// When it is not between 1 ms and 100 years.
pub(crate) fn check_timeout(timeout: Duration) {
    let possible = Duration::from_millis(1)..=Duration::from_secs(100 * 366 * 24 * 60 * 60);
    assert!(
        possible.contains(&timeout),
        "a session timeout must be between 1 ms and 100 years"
    );
}

/// # Panics
///
/// When it is not of 1 to 64 lower-case letters, digits, `-` and `_`.
pub(crate) fn check_realm(realm: &str) {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    assert!(
        (1..=64).contains(&realm.len()) && realm.bytes().all(allowed),
        "a realm must have 1 to 64 lower-case letters, digits, `-` and `_`"
    );
}
