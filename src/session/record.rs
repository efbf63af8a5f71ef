//! A stored session: one hash, a field per key.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::token::{HASH, same_hash};
use crate::error::{Error, Kind};

/// What is stored of a session: its fields, and whose it is.
#[derive(Clone, Default)]
pub struct Record {
    id: String,
    user: Option<String>,
    fields: HashMap<String, Bytes>,
}

/// What a token finds.
pub(super) enum Found {
    /// The session, and the end of life to move it to (Unix milliseconds) when that is due.
    Live(Record, Option<i64>),
    /// A login or a rotation replaced this token a short while ago.
    Stale,
    /// No session, or none of this token.
    Unknown,
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

    /// The value stored under `key`, if there is one.
    ///
    /// # Errors
    ///
    /// A [codec](Error::is_codec) error when the stored value is not a `T`. Other fields are still readable.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        self.fields
            .get(key)
            .map(|bytes| decode(key, bytes))
            .transpose()
    }

    pub(super) fn new(id: String, user: Option<String>) -> Self {
        Self {
            id,
            user,
            fields: HashMap::new(),
        }
    }

    pub(super) fn field(&self, key: &str) -> Option<&Bytes> {
        self.fields.get(key)
    }

    pub(super) fn log_in(&mut self, user: &str) {
        self.user = Some(user.to_owned());
    }

    pub(super) fn apply(&mut self, changes: &BTreeMap<String, Option<Bytes>>) {
        for (key, value) in changes {
            match value {
                Some(value) => self.fields.insert(key.clone(), value.clone()),
                None => self.fields.remove(key),
            };
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").finish_non_exhaustive()
    }
}

/// A record as Redis gave it, with what is needed to judge it.
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) fields: HashMap<String, Bytes>,
    /// `PTTL`, in milliseconds.
    pub(super) left: i64,
}

impl Stored {
    /// Judges a record by the secret's hash and the time (Unix milliseconds).
    pub(super) fn judge(
        mut self,
        hash: &[u8; HASH],
        now: i64,
        idle: Duration,
    ) -> Result<Found, Error> {
        if self.fields.is_empty() {
            return Ok(Found::Unknown);
        }
        let stored = self.fields.remove(SECRET_HASH);
        let stored = stored.filter(|stored| stored.len() == HASH);
        let (Some(stored), Some(end)) = (stored, self.millis(END)) else {
            return Err(Error::new(
                Kind::Corrupt,
                "the session's record is not one of ours",
            ));
        };
        if end <= now {
            return Ok(Found::Unknown);
        }
        if !same_hash(&stored, hash) {
            return Ok(if self.replaced(hash, now) {
                Found::Stale
            } else {
                Found::Unknown
            });
        }
        let extension = extension(now, self.left, end, idle);
        let user = self.fields.remove(USER);
        let user = user.map(|user| String::from_utf8_lossy(&user).into_owned());
        self.fields.retain(|key, _| !is_reserved(key));
        Ok(Found::Live(
            Record {
                id: self.id,
                user,
                fields: self.fields,
            },
            extension,
        ))
    }

    fn replaced(&self, hash: &[u8; HASH], now: i64) -> bool {
        let previous = self.fields.get(PREVIOUS_HASH);
        previous.is_some_and(|previous| same_hash(previous, hash))
            && self.millis(PREVIOUS_END).is_some_and(|end| now < end)
    }

    fn millis(&self, field: &str) -> Option<i64> {
        std::str::from_utf8(self.fields.get(field)?)
            .ok()?
            .parse()
            .ok()
    }
}

/// Where to move the end of life to, when that gains at least a touch interval.
fn extension(now: i64, left: i64, end: i64, idle: Duration) -> Option<i64> {
    let touch_interval = millis((idle / 10).min(MAX_TOUCH_INTERVAL));
    let target = end.min(now.saturating_add(millis(idle)));
    let gain = target.saturating_sub(now).saturating_sub(left);
    (gain >= touch_interval.max(1)).then_some(target)
}

/// Whole milliseconds, as Redis counts time.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn is_reserved(key: &str) -> bool {
    key.starts_with('!')
}

/// Refuses a key that could not be stored, saying why.
pub(super) fn check_key(key: &str) -> Result<(), Error> {
    if is_reserved(key) {
        return Err(Error::new(
            Kind::Codec,
            "a session key must not begin with `!`",
        ));
    }
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(Error::new(
            Kind::Codec,
            format!("a session key must have 1 to {MAX_KEY} bytes"),
        ));
    }
    Ok(())
}

pub(super) fn encode<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Bytes, Error> {
    check_key(key)?;
    // The cause is left out of both errors: serde_json quotes values in its messages, and these end up in logs.
    let bytes = serde_json::to_vec(value).map_err(|_| {
        Error::new(
            Kind::Codec,
            format!("session field `{key}` cannot be written as JSON"),
        )
    })?;
    if bytes.len() > MAX_VALUE {
        return Err(Error::new(
            Kind::Codec,
            format!("session field `{key}` is larger than {MAX_VALUE} bytes"),
        ));
    }
    Ok(bytes.into())
}

pub(super) fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Error::new(
            Kind::Codec,
            format!(
                "session field `{key}` does not decode as the type asked for, at {line}:{column}"
            ),
        )
    })
}

/// The longest key of a field, in bytes.
pub const MAX_KEY: usize = 128;
/// The largest value of a field as JSON, in bytes.
pub const MAX_VALUE: usize = 64 * 1024;
/// The longest name of a user, in bytes.
pub const MAX_USER: usize = 256;

const MAX_TOUCH_INTERVAL: Duration = Duration::from_secs(60);

// NOTE: commit.lua, create.lua and end.lua know these names too.
const SECRET_HASH: &str = "!h";
const PREVIOUS_HASH: &str = "!p";
const PREVIOUS_END: &str = "!g";
const END: &str = "!x";
const USER: &str = "!u";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;
    const IDLE: Duration = Duration::from_secs(1800);
    const OURS: [u8; HASH] = [7; HASH];
    const OLD: [u8; HASH] = [6; HASH];

    fn stored(fields: &[(&str, &[u8])]) -> Stored {
        Stored {
            id: "id".into(),
            fields: fields
                .iter()
                .map(|(key, value)| ((*key).to_owned(), Bytes::copy_from_slice(value)))
                .collect(),
            left: millis(IDLE),
        }
    }

    fn end(offset: i64) -> Vec<u8> {
        (NOW + offset).to_string().into_bytes()
    }

    #[test]
    fn the_hash_opens_the_record_and_reserved_fields_stay_inside() {
        let record = stored(&[
            ("!h", &OURS),
            ("!x", &end(1)),
            ("!u", b"alice"),
            ("!c", b"1"),
            ("cart", b"[1,2]"),
        ]);
        let Ok(Found::Live(record, _)) = record.judge(&OURS, NOW, IDLE) else {
            panic!("not live");
        };
        assert_eq!(record.user(), Some("alice"));
        assert_eq!(record.get::<Vec<u8>>("cart").unwrap(), Some(vec![1, 2]));
        for key in ["!h", "!u", "!c", "!x"] {
            assert_eq!(record.field(key), None, "{key}");
        }
        assert!(record.get::<String>("cart").unwrap_err().is_codec());
    }

    #[test]
    fn past_its_end_or_with_another_secret_it_is_unknown() {
        let ended = stored(&[("!h", &OURS), ("!x", &end(0))]);
        assert!(matches!(ended.judge(&OURS, NOW, IDLE), Ok(Found::Unknown)));
        let foreign = stored(&[("!h", &OURS), ("!x", &end(1))]);
        assert!(matches!(foreign.judge(&OLD, NOW, IDLE), Ok(Found::Unknown)));
        assert!(matches!(
            stored(&[]).judge(&OURS, NOW, IDLE),
            Ok(Found::Unknown)
        ));
    }

    #[test]
    fn the_previous_secret_is_stale_until_its_end() {
        for (offset, stale) in [(1, true), (0, false)] {
            let record = stored(&[
                ("!h", &OURS),
                ("!x", &end(9)),
                ("!p", &OLD),
                ("!g", &end(offset)),
            ]);
            let found = record.judge(&OLD, NOW, IDLE).unwrap();
            assert_eq!(matches!(found, Found::Stale), stale, "{offset}");
        }
    }

    #[test]
    fn foreign_data_is_corrupt() {
        for fields in [
            &[("a", &b"1"[..])][..],
            &[("!h", b"short"), ("!x", b"9999999999999")],
            &[("!h", &OURS), ("!x", b"soon")],
            &[("!h", &OURS)],
        ] {
            let Err(error) = stored(fields).judge(&OURS, NOW, IDLE) else {
                panic!("accepted");
            };
            assert!(error.is_corrupt());
        }
    }

    #[test]
    fn the_end_moves_once_per_touch_interval_and_never_past_the_absolute_one() {
        let idle = millis(IDLE);
        let far = NOW + 100 * idle;
        assert_eq!(extension(NOW, idle, far, IDLE), None);
        assert_eq!(extension(NOW, idle - 59_999, far, IDLE), None);
        assert_eq!(extension(NOW, idle - 60_000, far, IDLE), Some(NOW + idle));
        let near = NOW + idle / 2;
        assert_eq!(extension(NOW, idle / 4, near, IDLE), Some(near));
        assert_eq!(extension(NOW, idle / 2, near, IDLE), None);
        // A short idle timeout has a shorter interval.
        let short = Duration::from_secs(100);
        assert_eq!(extension(NOW, 90_001, far, short), None);
        assert_eq!(extension(NOW, 90_000, far, short), Some(NOW + 100_000));
    }

    #[test]
    fn keys_and_values_are_bounded() {
        for bad in ["", "!h", "!", &"k".repeat(MAX_KEY + 1)] {
            assert!(encode(bad, &1).unwrap_err().is_codec(), "{bad}");
        }
        assert!(encode(&"k".repeat(MAX_KEY), &1).is_ok());
        // Two bytes of the JSON are the quotes.
        assert!(encode("k", &"v".repeat(MAX_VALUE - 2)).is_ok());
        assert!(encode("k", &"v".repeat(MAX_VALUE - 1)).is_err());
    }

    #[test]
    fn an_error_does_not_quote_the_value() {
        let error = decode::<u32>("pin", br#""hunter2""#).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn nothing_stored_makes_it_panic(
            fields in proptest::collection::hash_map(
                prop_oneof!["![hpgxuca]", ".{0,4}"],
                proptest::collection::vec(any::<u8>(), 0..40),
                0..8,
            ),
            left in any::<i64>(),
            now in 0..i64::MAX / 2,
        ) {
            let fields = fields.into_iter().map(|(key, value)| (key, value.into())).collect();
            let _ = Stored { id: String::new(), fields, left }.judge(&OURS, now, IDLE);
        }
    }
}
