//! Sessions in Redis, with or without HTTP.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;

use super::{
    changes::Changes,
    record::{Found, Record, Stored, encode, millis},
    token::Token,
};
use crate::{
    error::{Error, Kind},
    redis::{Redis, Script, Value},
};

/// Sessions beneath the layer, for whatever has no cookies: an API token, a queue worker, a test.
///
/// ```no_run
/// use std::time::Duration;
/// use tower_fred::{Redis, session::SessionStore};
///
/// # async fn example() -> Result<(), tower_fred::Error> {
/// let redis = Redis::connect("redis://localhost").await?;
/// let store = SessionStore::new(redis).idle_timeout(Duration::from_secs(600));
///
/// let token = store.create(&serde_json::json!({ "theme": "dark" })).await?;
/// let record = store.load(&token.cookie_value()).await?.expect("it was just made");
/// assert_eq!(record.get::<String>("theme")?.as_deref(), Some("dark"));
///
/// assert!(store.destroy(&token.cookie_value()).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SessionStore {
    redis: Redis,
    idle: Duration,
    absolute: Duration,
}

/// What became of a guarded write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// There is no such record any more, or never was.
    Gone,
    /// The secret was replaced a short while ago.
    Stale,
    /// The record has another secret.
    Unknown,
}

impl SessionStore {
    /// A store with the default timeouts: 30 minutes idle, 12 hours in all.
    pub fn new(redis: Redis) -> Self {
        Self {
            redis,
            idle: Duration::from_secs(30 * 60),
            absolute: Duration::from_secs(12 * 60 * 60),
        }
    }

    /// How long a session lives without being used; default 30 minutes.
    ///
    /// Use is noticed at most once per 60 seconds or tenth of this timeout, whichever is less, so a session may end that
    /// much earlier.
    ///
    /// # Panics
    ///
    /// When it is not between 1 ms and 100 years.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        check_timeout(timeout);
        self.idle = timeout;
        self
    }

    /// How long a session lives in all, however much it is used; default 12 hours. It counts for new sessions.
    ///
    /// # Panics
    ///
    /// When it is not between 1 ms and 100 years.
    #[must_use]
    pub fn absolute_timeout(mut self, timeout: Duration) -> Self {
        check_timeout(timeout);
        self.absolute = timeout;
        self
    }

    /// Begins a session with the fields of a struct or map, each stored by itself.
    ///
    /// # Errors
    ///
    /// A [codec](Error::is_codec) error when `fields` is no struct or map, or a field is out of bounds (see
    /// [`MAX_KEY`](super::MAX_KEY) and [`MAX_VALUE`](super::MAX_VALUE)); an [unavailable](Error::is_unavailable) one when
    /// Redis does not answer or the system has no random bytes.
    pub async fn create<T: Serialize + ?Sized>(&self, fields: &T) -> Result<Token, Error> {
        self.begin(&changes_from(fields)?).await
    }

    /// Begins a session of a user who logged in just now, as [`create`](Self::create) does.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), and a [codec](Error::is_codec) error when `user` is not of 1 to
    /// [`MAX_USER`](super::MAX_USER) bytes.
    pub async fn create_for<T: Serialize + ?Sized>(
        &self,
        user: impl Into<String>,
        fields: &T,
    ) -> Result<Token, Error> {
        let mut changes = changes_from(fields)?;
        changes.log_in(user.into())?;
        self.begin(&changes).await
    }

    /// The session of a cookie value, if it is a live one. It counts as use.
    ///
    /// # Errors
    ///
    /// An [unavailable](Error::is_unavailable) error when Redis does not answer, a [corrupt](Error::is_corrupt) one when
    /// the record is not one of ours.
    pub async fn load(&self, cookie_value: &str) -> Result<Option<Record>, Error> {
        let Some(token) = Token::parse(cookie_value.as_bytes()) else {
            return Ok(None);
        };
        let Found::Live(record, extension) = self.find(&token).await? else {
            return Ok(None);
        };
        if let Some(until) = extension {
            self.extend(&token, until).await;
        }
        Ok(Some(record))
    }

    /// Ends the session of a cookie value: whether there was one.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub async fn destroy(&self, cookie_value: &str) -> Result<bool, Error> {
        match Token::parse(cookie_value.as_bytes()) {
            Some(token) => Ok(self.end(&token).await? == Outcome::Done),
            None => Ok(false),
        }
    }

    pub(super) async fn find(&self, token: &Token) -> Result<Found, Error> {
        let (fields, left) = self.redis.hash_with_ttl(&self.key(token)).await?;
        let id = token.id();
        Stored { id, fields, left }.judge(&token.hash(), unix_millis(), self.idle)
    }

    /// Begins a session under a selector that nobody has.
    pub(super) async fn begin(&self, changes: &Changes) -> Result<Token, Error> {
        for _ in 0..CREATE_ATTEMPTS {
            let token = Token::generate()?;
            let mut args: Vec<Value> = vec![
                bytes(&token.hash()),
                millis(self.idle).into(),
                millis(self.absolute).into(),
                changes.login().unwrap_or_default().into(),
            ];
            push_sets(&mut args, changes);
            let (word,): (String,) = self.redis.run(&CREATE, &self.key(&token), args).await?;
            if word == "done" {
                return Ok(token);
            }
        }
        Err(Error::new(
            Kind::Corrupt,
            "every random session id was taken",
        ))
    }

    /// Writes `changes` if `token` still holds the session, and puts `next` in its place if there is one.
    pub(super) async fn commit(
        &self,
        token: &Token,
        changes: &Changes,
        next: Option<&Token>,
    ) -> Result<Outcome, Error> {
        let mut args: Vec<Value> = vec![
            bytes(&token.hash()),
            millis(self.idle).into(),
            next.map_or_else(|| "".into(), |next| bytes(&next.hash())),
            millis(TOMBSTONE).into(),
            changes.login().unwrap_or_default().into(),
            i64::try_from(changes.sets().count())
                .unwrap_or(i64::MAX)
                .into(),
        ];
        push_sets(&mut args, changes);
        args.extend(changes.removals().map(Value::from));
        let (word,): (String,) = self.redis.run(&COMMIT, &self.key(token), args).await?;
        Outcome::read(&word)
    }

    /// Deletes the session if `token` still holds it.
    pub(super) async fn end(&self, token: &Token) -> Result<Outcome, Error> {
        let args = [bytes(&token.hash())];
        let (word,): (String,) = self.redis.run(&END, &self.key(token), args).await?;
        Outcome::read(&word)
    }

    /// Moves the end of life of an existing record forward. Failing is harmless: the next use tries again.
    pub(super) async fn extend(&self, token: &Token, until: i64) {
        if let Err(error) = self.redis.extend_until(&self.key(token), until).await {
            tracing::debug!(target: "tower_fred::session", %error, "session not extended");
        }
    }

    /// The id as hash tag, so that what later belongs to the session shares its slot in a cluster.
    fn key(&self, token: &Token) -> String {
        format!("{}:s:{{{}}}", self.redis.namespace(), token.id())
    }
}

impl Outcome {
    fn read(word: &str) -> Result<Self, Error> {
        match word {
            "done" => Ok(Self::Done),
            "gone" => Ok(Self::Gone),
            "stale" => Ok(Self::Stale),
            "unknown" => Ok(Self::Unknown),
            _ => Err(Error::new(
                Kind::Corrupt,
                "the session's record is not one of ours",
            )),
        }
    }
}

fn changes_from<T: Serialize + ?Sized>(fields: &T) -> Result<Changes, Error> {
    // The cause is left out: serde_json quotes values in its messages.
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(fields) else {
        return Err(Error::new(
            Kind::Codec,
            "the fields of a session must be a struct or a map with text keys",
        ));
    };
    let mut changes = Changes::default();
    for (key, value) in fields {
        let value = encode(&key, &value)?;
        changes.fields.insert(key, Some(value));
    }
    Ok(changes)
}

fn push_sets(args: &mut Vec<Value>, changes: &Changes) {
    for (key, value) in changes.sets() {
        args.push(key.into());
        args.push(value.clone().into());
    }
}

fn bytes(hash: &[u8]) -> Value {
    Bytes::copy_from_slice(hash).into()
}

fn unix_millis() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}

fn check_timeout(timeout: Duration) {
    let possible = Duration::from_millis(1)..=Duration::from_secs(100 * 366 * 24 * 60 * 60);
    assert!(
        possible.contains(&timeout),
        "a session timeout must be between 1 ms and 100 years"
    );
}

static COMMIT: Script = Script::new(include_str!("commit.lua"));
static CREATE: Script = Script::new(include_str!("create.lua"));
static END: Script = Script::new(include_str!("end.lua"));

/// How long a replaced token is known as such. It covers requests in flight; later the token is merely unknown.
const TOMBSTONE: Duration = Duration::from_secs(60);
/// A second attempt takes a collision of 128 random bits, so a third one says that the generator is broken.
const CREATE_ATTEMPTS: usize = 3;
