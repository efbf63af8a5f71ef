//! What all sessions of a store have in common.

use std::time::Duration;

use super::{
    codec::Codec,
    keys::{Key, Peppers},
};

/// The settings of a [`SessionStore`](super::SessionStore), with its defaults.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) idle: Duration,
    pub(super) absolute: Duration,
    pub(super) remembered: Duration,
    pub(super) renewal: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) look: Duration,
    pub(super) most_fields: usize,
    pub(super) most_bytes: usize,
    pub(super) per_user: Option<PerUser>,
    pub(super) realm: Option<String>,
    pub(super) codec: Codec,
    pub(super) peppers: Peppers,
    pub(super) log_key: Option<Key>,
}

/// How many sessions a user may have, and what becomes of one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PerUser {
    pub(super) most: u32,
    pub(super) evicts: bool,
}

impl Settings {
    pub(super) fn new() -> Self {
        Self {
            idle: Duration::from_secs(30 * 60),
            absolute: Duration::from_secs(12 * 60 * 60),
            remembered: Duration::from_secs(30 * 24 * 60 * 60),
            renewal: None,
            grace: Duration::from_secs(30),
            look: Duration::from_secs(30),
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
    pub(super) fn touch_interval(&self) -> Duration {
        (self.idle / 10).clamp(Duration::from_millis(1), MAX_TOUCH_INTERVAL)
    }

    /// Whether sessions fare the same under both. The key of logs is left out: by default each store has its own.
    pub(super) fn agree_with(&self, other: &Self) -> bool {
        let log_key = other.log_key.clone();
        *other
            == Self {
                log_key,
                ..self.clone()
            }
    }
}

/// See [`Settings::touch_interval`].
pub(super) const MAX_TOUCH_INTERVAL: Duration = Duration::from_secs(60);

/// # Panics
///
/// When it is not between 1 ms and 100 years.
pub(super) fn check_timeout(timeout: Duration) {
    let possible = Duration::from_millis(1)..=Duration::from_secs(100 * 366 * 24 * 60 * 60);
    assert!(
        possible.contains(&timeout),
        "a session timeout must be between 1 ms and 100 years"
    );
}

/// # Panics
///
/// When it is not of 1 to 64 lower-case letters, digits, `-` and `_`.
pub(super) fn check_realm(realm: &str) {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    assert!(
        (1..=64).contains(&realm.len()) && realm.bytes().all(allowed),
        "a realm must have 1 to 64 lower-case letters, digits, `-` and `_`"
    );
}
