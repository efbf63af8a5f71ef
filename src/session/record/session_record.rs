//! [`Record`]: a session as it was read, with this request's own writes.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{
    codec::{Codec, decode},
    index_entry::IndexEntry,
    login::Login,
};
use crate::error::{Error, Kind};

/// A stored session: its fields and its user.
#[derive(Clone, Default)]
pub struct Record {
    pub(crate) id: String,
    pub(crate) user: Option<String>,
    pub(crate) authenticated: Option<i64>,
    pub(crate) listed_at: i64,
    pub(crate) end: i64,
    pub(crate) lineage: Bytes,
    pub(crate) fields: HashMap<String, Field>,
    pub(crate) codec: Codec,
}

/// A value: as it is stored, or as this request wrote it, before it was sealed.
#[derive(Clone)]
pub(crate) enum Field {
    Stored(Bytes),
    Written(Bytes),
}

/// The result of looking up a token.
pub(crate) enum Found {
    /// The session, and the work that is due for it.
    Live(Record, Due),
    /// A login or a rotation replaced this token less than a minute ago.
    Stale,
    /// The session has another secret.
    Mismatch,
    /// No session.
    Unknown,
}

/// The work that is due after a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// The use has to be noted.
    pub(crate) touch: bool,
    /// The session needs a new token.
    pub(crate) renewal: bool,
    /// The index of the user has to be checked.
    pub(crate) index_check: bool,
}

impl Record {
    /// The public id of the session. It is not a credential.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The user who logged in, if one did.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// When the user last logged in, by Redis's clock.
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

    pub(crate) fn new(id: String, lineage: Bytes, codec: Codec) -> Self {
        Self {
            id,
            lineage,
            codec,
            ..Self::default()
        }
    }

    /// The value under `key` before it is decoded.
    pub(crate) fn plain(&self, key: &str) -> Result<Option<Bytes>, Error> {
        match self.fields.get(key) {
            None => Ok(None),
            Some(Field::Written(plain)) => Ok(Some(plain.clone())),
            Some(Field::Stored(stored)) => self.codec.open(&self.id, key, stored).map(Some),
        }
    }

    /// The stored value under `key`, as far as it is known.
    pub(crate) fn stored(&self, key: &str) -> Option<&Bytes> {
        match self.fields.get(key)? {
            Field::Stored(bytes) | Field::Written(bytes) => Some(bytes),
        }
    }

    /// The keys of all fields, those of flash messages too.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// The absolute end, in Unix milliseconds; 0 for a session that this request began.
    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    /// The entry for the index of the session's user.
    pub(crate) fn index_entry(&self) -> Option<IndexEntry> {
        Some(IndexEntry {
            user: self.user.clone()?,
            end: self.end,
            listed_at: self.listed_at,
        })
    }

    pub(crate) fn lineage(&self) -> &Bytes {
        &self.lineage
    }

    pub(crate) fn set_lineage(&mut self, lineage: Bytes) {
        self.lineage = lineage;
    }

    pub(crate) fn log_in(&mut self, login: &Login, now: i64) {
        self.user = Some(login.user.clone());
        self.authenticated = Some(now);
    }

    /// Removes all values.
    pub(crate) fn clear(&mut self) {
        self.fields.clear();
    }

    pub(crate) fn apply(&mut self, changes: &BTreeMap<String, Option<Bytes>>) {
        for (key, value) in changes {
            match value {
                Some(value) => self
                    .fields
                    .insert(key.clone(), Field::Written(value.clone())),
                None => self.fields.remove(key),
            };
        }
    }

    pub(crate) fn found(&mut self, key: &str, stored: Bytes) {
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

pub(crate) fn not_ours() -> Error {
    Error::new(Kind::Corrupt, "the session's record is not one of ours")
}

pub(crate) fn number(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Whole milliseconds, as Redis counts time.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The time of so many Unix milliseconds.
pub(crate) fn time(unix_millis: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(unix_millis).unwrap_or(0));
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}
