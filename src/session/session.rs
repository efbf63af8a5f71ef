//! The session that a handler holds.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    changes::Renewal,
    record::{decode, encode, is_reserved},
    state::State,
    store::SessionStore,
    token::Token,
};
use crate::{error::Error, personal::Personal};

/// The session of one request. See the [module](crate::session) for what it costs and when it is written.
///
/// A handler takes it from the request's extensions, or as an axum extractor (feature `axum`).
///
/// ```no_run
/// use tower_fred::{Error, Session};
///
/// async fn add_to_cart(session: &Session, item: u64) -> Result<(), Error> {
///     let mut cart: Vec<u64> = session.get("cart").await?.unwrap_or_default();
///     cart.push(item);
///     session.insert("cart", &cart)
/// }
///
/// /// For a WebSocket, whose response has long left: it writes by itself.
/// async fn seen(session: &Session, message: u64) -> Result<(), Error> {
///     session.insert("seen", &message)?;
///     session.commit().await
/// }
/// ```
///
/// # Clone
///
/// Clones are the same session: they share what was loaded and what is to be written. A clone may outlive the request,
/// for a WebSocket or a stream; it then writes with [`commit`](Self::commit).
#[derive(Clone)]
pub struct Session {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) store: SessionStore,
    /// Reads go on with an empty session when Redis does not answer.
    pub(super) anonymous_on_failure: bool,
    /// Tells a cache that this request's answer is for nobody else.
    personal: Personal,
    /// Never locked over an await.
    state: Mutex<State>,
    /// One load or write at a time: clones that read at once load once.
    pub(super) io: tokio::sync::Mutex<()>,
}

impl Session {
    pub(super) fn new(
        store: SessionStore,
        tokens: Vec<Token>,
        anonymous_on_failure: bool,
        personal: Personal,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                anonymous_on_failure,
                personal,
                state: Mutex::new(State::new(tokens)),
                io: tokio::sync::Mutex::new(()),
            }),
        }
    }

    /// The value under `key`, with this request's own changes; nothing when there is no value or no session.
    ///
    /// The first read of a request loads the session in one round trip; later ones are served from memory.
    ///
    /// # Errors
    ///
    /// An [unavailable](Error::is_unavailable) error when Redis does not answer (unless the layer is
    /// [`anonymous_on_failure`](super::SessionLayer::anonymous_on_failure)), a [corrupt](Error::is_corrupt) one when the
    /// record is not one of ours, a [codec](Error::is_codec) one when this value is not a `T`; the other values are
    /// still readable then, and this one stays as it is.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let pending = self.used().changes.fields.get(key).cloned();
        let value = match pending {
            Some(value) => value,
            None => {
                self.load().await?;
                self.state().field(key)
            }
        };
        value.map(|bytes| decode(key, &bytes)).transpose()
    }

    /// Sets the value under `key`, as JSON, when the response leaves. A value equal to the loaded one is not written.
    ///
    /// # Errors
    ///
    /// A [codec](Error::is_codec) error when the value cannot be JSON or is larger than [`MAX_VALUE`](super::MAX_VALUE),
    /// or the key is empty, longer than [`MAX_KEY`](super::MAX_KEY) or begins with `!`. Nothing changes then.
    pub fn insert<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), Error> {
        let value = encode(key, value)?;
        let mut state = self.used();
        state.changes.fields.insert(key.to_owned(), Some(value));
        Ok(())
    }

    /// Removes the value under `key` when the response leaves.
    pub fn remove(&self, key: &str) {
        // Names that no value can have are not ours to remove.
        if !is_reserved(key) {
            self.used().changes.fields.insert(key.to_owned(), None);
        }
    }

    /// Makes this the session of `user`, under a new token: the one from before the login is dead.
    ///
    /// Call it when the credentials were checked, also when the same user proves them again. The values stay; where the
    /// session may belong to somebody else, call [`logout`](Self::logout) first. A login never fails because the old
    /// session just ended: a new one begins then.
    ///
    /// # Errors
    ///
    /// A [codec](Error::is_codec) error when `user` is not of 1 to [`MAX_USER`](super::MAX_USER) bytes, a
    /// [too late](Error::is_too_late) one when the response has left: its cookie cannot be changed.
    pub fn login(&self, user: impl Into<String>) -> Result<(), Error> {
        let mut state = self.used();
        if state.is_sent() {
            return Err(super::state::too_late());
        }
        state.changes.log_in(user.into())
    }

    /// The user of this session, if one logged in. It reads as [`get`](Self::get) does.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn user(&self) -> Result<Option<String>, Error> {
        let pending = self.used().changes.login().map(str::to_owned);
        if pending.is_some() {
            return Ok(pending);
        }
        self.load().await?;
        let state = self.state();
        let user = state.record().and_then(|record| record.user());
        Ok(user.map(str::to_owned))
    }

    /// Ends the session when the response leaves, whatever its status, and removes the cookie.
    ///
    /// Changes made before are dropped; changes made after begin a new session that has nothing of this one.
    pub fn logout(&self) {
        self.used().log_out();
    }

    /// Replaces the token when the response leaves: the old one is dead. [`login`](Self::login) does so by itself.
    ///
    /// Call it when the session's rights change in another way. Where there is no session it does nothing.
    pub fn rotate(&self) {
        let renewal = &mut self.used().changes.renewal;
        if *renewal == Renewal::Keep {
            *renewal = Renewal::Rotate;
        }
    }

    /// The public handle of the session once it was read or written, 22 characters. It stays over logins and rotations,
    /// and opens nothing.
    pub fn id(&self) -> Option<String> {
        self.used().id()
    }

    /// Writes the changes now.
    ///
    /// The layer does so by itself when the response leaves. Call it in a WebSocket or a stream, after that, or in a
    /// handler that needs the changes to be seen before its response.
    ///
    /// # Errors
    ///
    /// An [interrupted](Error::is_interrupted) error when the session ended or its token was replaced meanwhile: the
    /// changes are dropped. A [too late](Error::is_too_late) one when the response has left and the changes need a new
    /// token or a new session. An [unavailable](Error::is_unavailable) one when Redis does not answer: the changes are
    /// kept for another attempt.
    ///
    /// # Cancellation
    ///
    /// When the future is dropped, the changes were written or not, all of them, and calling again is safe.
    pub async fn commit(&self) -> Result<(), Error> {
        let _io = self.inner.io.lock().await;
        self.flush().await
    }

    /// The state, for a handler that uses the session: what it answers may depend on it.
    fn used(&self) -> MutexGuard<'_, State> {
        self.inner.personal.set();
        self.state()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked; were it so, the state would still be whole.
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}
