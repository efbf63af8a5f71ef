//! [`SessionStore`]: the settings of sessions, and sessions by the value of their cookie, without HTTP.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    error::{Error, Kind},
    redis::Redis,
    session::{
        credential::{
            holder::Holder,
            keys::{Key, pseudonym},
            token::Token,
        },
        record::{
            bounds::encode,
            changes::Changes,
            login::Login,
            operation::Ended,
            session_record::{Found, Record},
            settings::{PerUser, Settings, check_realm, check_timeout},
        },
    },
};

/// Sessions without the layer: their settings, a user's sessions, and sessions for clients without cookies, such as those
/// with an API token, or for a test.
///
/// ```no_run
/// use std::time::Duration;
/// use tower_fred::{Redis, SessionLayer, session::SessionStore};
///
/// # async fn example() -> Result<(), tower_fred::Error> {
/// let redis = Redis::connect("redis://localhost").await?;
/// let store = SessionStore::new(redis)
///     .idle_timeout(Duration::from_secs(600))
///     .renew_every(Duration::from_secs(60 * 60))
///     .evict_above(10);
///
/// let token = store.create(&serde_json::json!({ "theme": "dark" })).await?;
/// let record = store.load(&token.cookie_value()).await?.expect("it was just made");
/// assert_eq!(record.get::<String>("theme")?.as_deref(), Some("dark"));
///
/// assert!(store.destroy(&token.cookie_value()).await?);
///
/// // The same sessions with cookies.
/// let layer = SessionLayer::over(store);
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SessionStore {
    pub(crate) redis: Redis,
    pub(crate) settings: Arc<Settings>,
}

impl SessionStore {
    /// A store with the default timeouts: 30 minutes idle, 12 hours in all.
    pub fn new(redis: Redis) -> Self {
        Self {
            redis,
            settings: Arc::new(Settings::new()),
        }
    }

    /// How long a session lives without being used; default 30 minutes.
    ///
    /// A use is written at most once per 60 seconds or per tenth of this timeout, whichever is less, so a session may end
    /// earlier by that time.
    ///
    /// # Panics
    ///
    /// When it is not between 1 ms and 100 years.
    #[must_use]
    pub fn idle_timeout(self, timeout: Duration) -> Self {
        check_timeout(timeout);
        self.with(|settings| settings.idle = timeout)
    }

    /// How long a session lives in total, even when it is used; default 12 hours. It applies to new sessions.
    ///
    /// # Panics
    ///
    /// When it is not between 1 ms and 100 years.
    #[must_use]
    pub fn absolute_timeout(self, timeout: Duration) -> Self {
        check_timeout(timeout);
        self.with(|settings| settings.absolute = timeout)
    }

    /// How long a session lives after a [remembered](Login::remembered) login, used or not; default 30 days. It is
    /// counted from the login, also for a session that existed before.
    ///
    /// Browsers keep a cookie for at most 400 days.
    ///
    /// # Panics
    ///
    /// When it is not between 1 ms and 100 years.
    #[must_use]
    pub fn remembered_for(self, lifetime: Duration) -> Self {
        check_timeout(lifetime);
        self.with(|settings| settings.remembered = lifetime)
    }

    /// Gives a session a new token when it is read with one that is older than this; default: never.
    ///
    /// The old token stays valid for a [grace period](Self::renewal_grace), for requests that were sent before. If the
    /// browser still sends the old token in the second half of this period and has never sent the new one, the response
    /// with the new one was lost, and the browser gets another token.
    ///
    /// # Panics
    ///
    /// When it is not between 1 ms and 100 years.
    #[must_use]
    pub fn renew_every(self, interval: Duration) -> Self {
        check_timeout(interval);
        self.with(|settings| settings.renewal = Some(interval))
    }

    /// How long the old token stays valid after a [renewal](Self::renew_every); default 30 seconds. After a login or a
    /// rotation, the old token is invalid at once.
    ///
    /// # Panics
    ///
    /// When it is not between 1 ms and 100 years.
    #[must_use]
    pub fn renewal_grace(self, grace: Duration) -> Self {
        check_timeout(grace);
        self.with(|settings| settings.grace = grace)
    }

    /// How many sessions a user may have; a login above that ends the session whose absolute end comes first. Default:
    /// any number.
    ///
    /// # Panics
    ///
    /// When it is 0 or above 1,000.
    #[must_use]
    pub fn evict_above(self, most: u32) -> Self {
        self.with_most(most, true)
    }

    /// How many sessions a user may have; a login above that is [refused](Error::is_forbidden), with 403. Default: any
    /// number.
    ///
    /// # Panics
    ///
    /// When it is 0 or above 1,000.
    #[must_use]
    pub fn refuse_above(self, most: u32) -> Self {
        self.with_most(most, false)
    }

    /// How many fields a session may have; default 128. A write that would exceed it is a [codec](Error::is_codec)
    /// error, and none of its changes is written.
    #[must_use]
    pub fn most_fields(self, most: usize) -> Self {
        self.with(|settings| settings.most_fields = most)
    }

    /// How many bytes the keys and stored values of a session may have; default 256 KiB. A write that would exceed it is
    /// a [codec](Error::is_codec) error, and none of its changes is written.
    #[must_use]
    pub fn most_bytes(self, most: usize) -> Self {
        self.with(|settings| settings.most_bytes = most)
    }

    /// Separates these sessions and the lists of their users from others in the same namespace; default: no realm. For a
    /// second cookie; see [`SessionLayer::marked`](crate::session::SessionLayer::marked).
    ///
    /// # Panics
    ///
    /// When it is not of 1 to 64 lower-case letters, digits, `-` and `_`.
    #[must_use]
    pub fn realm(self, realm: impl Into<String>) -> Self {
        let realm = realm.into();
        check_realm(&realm);
        self.with(|settings| settings.realm = Some(realm))
    }

    /// Stores HMACs under this key instead of plain hashes: one of a session's id and its token's secret, and one of
    /// these and the user. Sessions that were stored without a pepper no longer open.
    ///
    /// It protects from somebody who can write to Redis and does not know the key: they cannot make a session, and a
    /// hash or a user that they copy into the record of another session does not open it. It does not protect the rest
    /// of a record: they can still change values and times, the one of the login as well (see
    /// [`Session::require_recent_auth`](crate::session::Session::require_recent_auth)), delete a session, and put back
    /// an earlier state of the same session. `seal` binds values to their session. Nor does it protect from somebody who
    /// has the application's memory or a browser's cookie.
    ///
    /// Records that an earlier version stored under this pepper, with an HMAC of the secret alone, are still read; their
    /// user is not bound. The next use that reads the session and is noted stores both HMACs. A write without a read
    /// does not: it does not know the user. A process of the earlier version does not accept such a record. So with a
    /// pepper, replace all processes at once; otherwise users are logged out while both versions run. Without a pepper,
    /// processes of both versions work side by side.
    ///
    /// # Panics
    ///
    /// When the key has fewer than 32 bytes.
    #[must_use]
    pub fn pepper(self, key: impl AsRef<[u8]>) -> Self {
        let key = Key::new(key.as_ref());
        self.with(|settings| settings.peppers.insert_first(key))
    }

    /// A pepper that was in use before: sessions stored under it are found, and stored under the [new one](Self::pepper)
    /// when a request that read them writes them or is noted as use. A write without a read leaves them as they are.
    /// Drop it after the longest timeout.
    ///
    /// # Panics
    ///
    /// When the key has fewer than 32 bytes.
    #[must_use]
    pub fn previous_pepper(self, key: impl AsRef<[u8]>) -> Self {
        let key = Key::new(key.as_ref());
        self.with(|settings| settings.peppers.push(key))
    }

    /// The key of the hashes that stand for sessions in logs; default: a random key of this process. With the same key in
    /// all processes, the same session has the same hash in all their logs.
    ///
    /// # Panics
    ///
    /// When the key has fewer than 32 bytes.
    #[must_use]
    pub fn log_key(self, key: impl AsRef<[u8]>) -> Self {
        let key = Key::new(key.as_ref());
        self.with(|settings| settings.log_key = Some(key))
    }

    /// Writes values as `MessagePack`; default: JSON. Both are read in any case.
    #[cfg(feature = "messagepack")]
    #[must_use]
    pub fn messagepack(self) -> Self {
        self.with(|settings| {
            settings.codec.format = crate::session::record::format::Format::MessagePack;
        })
    }

    /// Encrypts values with XChaCha20-Poly1305, each bound to its session and its key, so a copied value does not decrypt
    /// elsewhere. Values that are not sealed are an error from then on. Keys, users, labels and times are not encrypted.
    #[cfg(feature = "seal")]
    #[must_use]
    pub fn seal(self, key: &[u8; 32]) -> Self {
        self.with(|settings| {
            settings.codec.seal = Some(Arc::new(crate::session::record::seal::Seal::new(key)));
        })
    }

    /// A key that was in use before: values under it are read. Call [`seal`](Self::seal) first.
    ///
    /// # Panics
    ///
    /// Without a key to seal with.
    #[cfg(feature = "seal")]
    #[must_use]
    pub fn previous_seal(self, key: &[u8; 32]) -> Self {
        self.with_seal(|seal| seal.push(key))
    }

    /// Reads values that are not sealed, while an application begins to seal. Call [`seal`](Self::seal) first.
    ///
    /// # Panics
    ///
    /// Without a key to seal with.
    #[cfg(feature = "seal")]
    #[must_use]
    pub fn accept_unsealed(self) -> Self {
        self.with_seal(|seal| seal.lenient = true)
    }

    /// How often the record of a session that is [waited for](crate::session::Session::ended) is checked without a hint;
    /// default 30 seconds.
    ///
    /// This is how late an end may be noticed when its hint was lost, as while a connection breaks, or when there are no
    /// hints: when the Redis user may not `PUBLISH` and `SUBSCRIBE`, and with an application's own client of a cluster.
    /// One command checks up to 256 sessions, in a cluster one.
    ///
    /// # Panics
    ///
    /// When it is not between 1 ms and 100 years.
    #[must_use]
    pub fn check_ended_every(self, interval: Duration) -> Self {
        check_timeout(interval);
        self.with(|settings| settings.check_interval = interval)
    }

    /// Begins a session with the fields of a struct or map, each stored by itself.
    ///
    /// # Errors
    ///
    /// A [codec](Error::is_codec) error when `fields` is no struct or map, or a field is out of bounds (see
    /// [`MAX_KEY`](crate::session::MAX_KEY) and [`MAX_VALUE`](crate::session::MAX_VALUE)); an
    /// [unavailable](Error::is_unavailable) one when Redis does not answer or the system has no random bytes.
    pub async fn create<T: Serialize + ?Sized>(&self, fields: &T) -> Result<Token, Error> {
        self.begin(&self.changes_from(fields)?).await
    }

    /// Begins a session for a user who has just logged in, otherwise as [`create`](Self::create).
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), and a [codec](Error::is_codec) error when the user is not of 1 to
    /// [`MAX_USER`](crate::session::MAX_USER) bytes, a [forbidden](Error::is_forbidden) one when the user has
    /// [too many](Self::refuse_above) sessions, or all of them were just [revoked](Self::revoke_all).
    pub async fn create_for<T: Serialize + ?Sized>(
        &self,
        login: impl Into<Login>,
        fields: &T,
    ) -> Result<Token, Error> {
        let changes = self.changes_from(fields)?;
        let login = login.into().check()?;
        let began = login.checked_at.unwrap_or_else(Instant::now);
        let begun = self.begin_for(&login, &changes, began).await?;
        if let Some(reservation) = &begun.reservation {
            self.confirm(reservation).await;
        }
        Ok(begun.token)
    }

    /// The session of a cookie value, if it is live. This counts as use.
    ///
    /// # Errors
    ///
    /// An [unavailable](Error::is_unavailable) error when Redis does not answer, a [corrupt](Error::is_corrupt) one when
    /// the record is not one of ours.
    pub async fn load(&self, cookie_value: &str) -> Result<Option<Record>, Error> {
        let Some(token) = Token::parse(cookie_value.as_bytes()) else {
            return Ok(None);
        };
        let holder = Holder::unproved(token);
        let Found::Live(record, due) = self.find(&holder).await? else {
            return Ok(None);
        };
        if due.touch {
            let user = record.user().map(Into::into);
            self.touch(&Holder { user, ..holder }).await;
        }
        Ok(Some(record))
    }

    /// Ends the session of a cookie value. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub async fn destroy(&self, cookie_value: &str) -> Result<bool, Error> {
        match Token::parse(cookie_value.as_bytes()) {
            Some(token) => {
                let ended = self.end(&Holder::unproved(token)).await?;
                Ok(matches!(ended, Ended::Done(_)))
            }
            None => Ok(false),
        }
    }

    /// Whether a token opens the same session in both stores.
    pub(crate) fn has_sessions_of(&self, other: &Self) -> bool {
        self.settings.realm == other.settings.realm && self.redis.has_keys_of(&other.redis)
    }

    pub(crate) fn pseudonym(&self, id: &str) -> String {
        pseudonym(self.settings.log_key.as_ref(), id)
    }

    fn changes_from<T: Serialize + ?Sized>(&self, fields: &T) -> Result<Changes, Error> {
        let mut changes = Changes::default();
        for (key, value) in fields_of(fields)? {
            let value = encode(&self.settings.codec, &key, &value)?;
            changes.fields.insert(key, Some(value));
        }
        Ok(changes)
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    fn with_most(self, most: u32, evicts: bool) -> Self {
        assert!(
            (1..=1000).contains(&most),
            "a user may have 1 to 1,000 sessions, or any number"
        );
        self.with(|settings| settings.per_user = Some(PerUser { most, evicts }))
    }

    #[cfg(feature = "seal")]
    fn with_seal(self, change: impl FnOnce(&mut crate::session::record::seal::Seal)) -> Self {
        self.with(|settings| {
            let seal = settings.codec.seal.as_mut();
            change(Arc::make_mut(seal.expect("`seal` comes first")));
        })
    }
}

/// The fields of a struct or map, by name.
pub(crate) fn fields_of<T: Serialize + ?Sized>(
    fields: &T,
) -> Result<serde_json::Map<String, serde_json::Value>, Error> {
    // The cause is left out: serde_json quotes values in its messages.
    match serde_json::to_value(fields) {
        Ok(serde_json::Value::Object(fields)) => Ok(fields),
        _ => Err(Error::new(
            Kind::Codec,
            "the fields of a session must be a struct or a map with text keys",
        )),
    }
}
