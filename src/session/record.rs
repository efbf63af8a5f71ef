//! A stored session: one hash, a field per key.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{
    bounds::MARK,
    codec::{Codec, decode},
    login::Login,
    outcome::{Held, Listing},
    settings::{MAX_TOUCH_INTERVAL, Settings},
    token::HASH,
};
use crate::error::{Error, Kind};

/// What is stored of a session: its fields, and whose it is.
#[derive(Clone, Default)]
pub struct Record {
    id: String,
    user: Option<String>,
    authenticated: Option<i64>,
    listed_at: i64,
    end: i64,
    lineage: Bytes,
    fields: HashMap<String, Field>,
    codec: Codec,
}

/// A value, as it is stored or as this request wrote it.
#[derive(Clone)]
enum Field {
    Stored(Bytes),
    Written(Bytes),
}

/// What a token finds.
pub(super) enum Found {
    /// The session, and what is due with it.
    Live(Record, Due),
    /// A login or a rotation replaced this token a short while ago.
    Stale,
    /// The session has another secret.
    Mismatch,
    /// No session.
    Unknown,
}

/// What a read leaves to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// To note that the session is in use.
    pub(super) touch: bool,
    /// To give it a new token.
    pub(super) renewal: bool,
    /// To ask the list of its user.
    pub(super) listing: bool,
}

impl Record {
    /// The public handle of the session. It opens nothing.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The user who logged in, if one did.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// When the user last proved who they are, by Redis's clock.
    pub fn auth_at(&self) -> Option<SystemTime> {
        self.authenticated.map(time)
    }

    /// The value stored under `key`, if there is one.
    ///
    /// # Errors
    ///
    /// A [codec](Error::is_codec) error when the stored value is not a `T`, a [corrupt](Error::is_corrupt) one when it is
    /// sealed and does not open. Other fields are still readable.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let plain = self.plain(key)?;
        plain.map(|bytes| decode(key, &bytes)).transpose()
    }

    pub(super) fn new(id: String, lineage: Bytes, codec: Codec) -> Self {
        Self {
            id,
            lineage,
            codec,
            ..Self::default()
        }
    }

    /// The value under `key` before it is decoded.
    pub(super) fn plain(&self, key: &str) -> Result<Option<Bytes>, Error> {
        match self.fields.get(key) {
            None => Ok(None),
            Some(Field::Written(plain)) => Ok(Some(plain.clone())),
            Some(Field::Stored(stored)) => self.codec.open(&self.id, key, stored).map(Some),
        }
    }

    /// What Redis has under `key`, as far as it is known.
    pub(super) fn stored(&self, key: &str) -> Option<&Bytes> {
        match self.fields.get(key)? {
            Field::Stored(bytes) | Field::Written(bytes) => Some(bytes),
        }
    }

    /// The keys of all fields, those of flash messages too.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// The absolute end, in Unix milliseconds; 0 for a session that this request began.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// What the list of the session's user has to know.
    pub(super) fn listing(&self) -> Option<Listing> {
        Some(Listing {
            user: self.user.clone()?,
            end: self.end,
            listed_at: self.listed_at,
        })
    }

    pub(super) fn lineage(&self) -> &Bytes {
        &self.lineage
    }

    pub(super) fn set_lineage(&mut self, lineage: Bytes) {
        self.lineage = lineage;
    }

    pub(super) fn log_in(&mut self, login: &Login, now: i64) {
        self.user = Some(login.user.clone());
        self.authenticated = Some(now);
    }

    /// Removes all values.
    pub(super) fn clear(&mut self) {
        self.fields.clear();
    }

    pub(super) fn apply(&mut self, changes: &BTreeMap<String, Option<Bytes>>) {
        for (key, value) in changes {
            match value {
                Some(value) => self
                    .fields
                    .insert(key.clone(), Field::Written(value.clone())),
                None => self.fields.remove(key),
            };
        }
    }

    pub(super) fn found(&mut self, key: &str, stored: Bytes) {
        if stored.is_empty() {
            self.fields.remove(key);
        } else {
            self.fields.insert(key.to_owned(), Field::Stored(stored));
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").finish_non_exhaustive()
    }
}

/// A record as Redis gave it.
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) fields: HashMap<String, Bytes>,
}

impl Stored {
    /// Judges a record by the caller's secret, or the lineage that it proved to hold before, and the time (Unix
    /// milliseconds).
    pub(super) fn judge(self, held: &Held, now: i64, settings: &Settings) -> Result<Found, Error> {
        if self.fields.is_empty() {
            return Ok(Found::Unknown);
        }
        let stored = self.fields.get(SECRET_HASH);
        let stored = stored.filter(|stored| stored.len() == HASH);
        let (Some(stored), Some(end)) = (stored, self.millis(END)) else {
            return Err(not_ours());
        };
        if end <= now {
            return Ok(Found::Unknown);
        }
        let hashes = settings.peppers.hashes(&held.token);
        let current = hashes.contain(stored);
        let was_ours = |until| {
            let previous = self.fields.get(PREVIOUS_HASH);
            self.millis(until).is_some_and(|end| now < end)
                && previous.is_some_and(|previous| hashes.contain(previous))
        };
        let previous = !current && was_ours(GRACE_END);
        let lineage = &held.lineage;
        let kin = !lineage.is_empty() && self.fields.get(LINEAGE).is_some_and(|it| it == lineage);
        if !(current || previous || kin) {
            let stale = was_ours(PREVIOUS_END);
            return Ok(if stale { Found::Stale } else { Found::Mismatch });
        }
        let known_by = match (current, previous) {
            (true, _) => Some((SECRET_HASH, TAG)),
            (false, true) => Some((PREVIOUS_HASH, PREVIOUS_TAG)),
            (false, false) => None,
        };
        if !self.is_users(held, known_by, settings) {
            return Ok(Found::Mismatch);
        }
        let due = self.due(current, previous, now, settings);
        Ok(Found::Live(self.record(end, settings), due))
    }

    /// Whether the session is that of the user it names, as far as a pepper tells. `known_by` are the fields of the hash
    /// that the caller's token has, and of its tag.
    fn is_users(&self, held: &Held, known_by: Option<(&str, &str)>, settings: &Settings) -> bool {
        let Some(user) = self.fields.get(USER) else {
            return true;
        };
        let peppers = &settings.peppers;
        if peppers.are_none() {
            return true;
        }
        let Some((hash, tag)) = known_by else {
            // A lineage has one user. A token that is too old to be known makes no tag.
            return held.user.as_ref().is_some_and(|it| it.as_bytes() == user);
        };
        let hash = self.fields.get(hash);
        hash.is_some_and(|hash| peppers.hashes(&held.token).is_unbound(hash))
            || peppers.vouch(&held.token, user, self.fields.get(tag))
    }

    fn due(&self, current: bool, previous: bool, now: i64, settings: &Settings) -> Due {
        let idle = self.millis(IDLE).unwrap_or_else(|| millis(settings.idle));
        let interval = (idle / 10).clamp(1, millis(MAX_TOUCH_INTERVAL));
        let unused = now.saturating_sub(self.millis(SEEN).unwrap_or(0));
        let handed_over = self.fields.contains_key(HANDED_OVER);
        let renewal = settings.renewal.is_some_and(|renewal| {
            let age = now.saturating_sub(self.millis(RENEWED).unwrap_or(0));
            current && age >= millis(renewal)
        });
        // NOTE: commit.lua decides by the same rule.
        let lost = previous && handed_over && {
            let end = self.millis(GRACE_END).unwrap_or(0);
            now >= end.saturating_sub(millis(settings.grace) / 2)
        };
        // NOTE: commit.lua decides by the same rule. A time in the future is no reason not to ask.
        let asked = now.saturating_sub(self.millis(LIST_ASKED).unwrap_or(0));
        let listing = self.fields.contains_key(USER) && asked.saturating_abs() >= interval;
        Due {
            touch: unused >= interval || (current && handed_over) || listing,
            renewal: renewal || lost,
            listing,
        }
    }

    fn record(mut self, end: i64, settings: &Settings) -> Record {
        let authenticated = self.millis(AUTHENTICATED);
        let listed_at = self.millis(LISTED_AT).or(authenticated).unwrap_or(0);
        let user = self.fields.remove(USER);
        let lineage = self.fields.remove(LINEAGE).unwrap_or_default();
        let fields = self.fields.into_iter();
        let fields = fields.filter(|(key, _)| !key.starts_with(MARK));
        Record {
            id: self.id,
            user: user.map(|user| String::from_utf8_lossy(&user).into_owned()),
            authenticated,
            listed_at,
            end,
            lineage,
            fields: fields
                .map(|(key, value)| (key, Field::Stored(value)))
                .collect(),
            codec: settings.codec.clone(),
        }
    }

    fn millis(&self, field: &str) -> Option<i64> {
        number(self.fields.get(field)?)
    }
}

pub(super) fn not_ours() -> Error {
    Error::new(Kind::Corrupt, "the session's record is not one of ours")
}

pub(super) fn number(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Whole milliseconds, as Redis counts time.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The time of so many Unix milliseconds.
pub(super) fn time(unix_millis: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(unix_millis).unwrap_or(0));
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

// NOTE: the scripts know these names too.
const SECRET_HASH: &str = "!h";
const PREVIOUS_HASH: &str = "!p";
/// Until when the previous secret is known as such.
const PREVIOUS_END: &str = "!g";
/// Until when it is accepted.
const GRACE_END: &str = "!k";
/// There while the browser has not shown that it got the token of a renewal.
const HANDED_OVER: &str = "!o";
const LINEAGE: &str = "!v";
const RENEWED: &str = "!n";
const SEEN: &str = "!s";
const END: &str = "!x";
const IDLE: &str = "!i";
const USER: &str = "!u";
const AUTHENTICATED: &str = "!a";
/// When the login was listed, by the clock of the list's server.
const LISTED_AT: &str = "!r";
/// When a use of the session last asked the list of its user.
const LIST_ASKED: &str = "!e";
/// What ties the user to the secret, when there is a pepper.
const TAG: &str = "!t";
/// The same for the previous secret.
const PREVIOUS_TAG: &str = "!q";

#[cfg(test)]
mod tests;
