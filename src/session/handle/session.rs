//! [`Session`]: the session that a handler holds.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::Error,
    personal::Personal,
    session::{
        callbacks::security_event::{SecurityEvent, Suspicion},
        credential::token::Token,
        handle::config::Config,
        record::{
            bounds::{encode, is_reserved},
            codec::decode,
            login::Login,
        },
        state::session_state::State,
        store::{session_store::SessionStore, watches::Watch},
    },
};

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
/// /// For a WebSocket, whose response has left already: it writes with `commit`.
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
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Arc<Config>,
    /// Tells a cache that the response to this request is personal.
    personal: Personal,
    /// The session that the next session layer outside put into the same extension.
    outer: Option<Session>,
    /// The name of the client, if the layer has a function that gives it.
    client: Option<String>,
    /// The session of tower-sessions that the browser names.
    #[cfg(feature = "tower-sessions-import")]
    pub(crate) legacy: Mutex<Option<crate::session::import::legacy::Legacy>>,
    began: Instant,
    /// The watch that all clones share while one of them waits for the session's end.
    pub(crate) watch: Mutex<Option<Arc<Watch>>>,
    /// Never locked across an await.
    state: Mutex<State>,
    /// One load or write at a time: clones that read at once load once.
    pub(crate) io: tokio::sync::Mutex<()>,
}

/// What a session needs from its request.
pub(crate) struct RequestContext {
    pub(crate) tokens: Vec<Token>,
    pub(crate) client: Option<String>,
    pub(crate) personal: Personal,
    pub(crate) outer: Option<Session>,
    #[cfg(feature = "tower-sessions-import")]
    pub(crate) legacy: Option<crate::session::import::legacy::Legacy>,
}

impl Session {
    pub(crate) fn new(config: Arc<Config>, context: RequestContext) -> Self {
        Self {
            inner: Arc::new(Inner {
                config,
                personal: context.personal,
                client: context.client,
                outer: context.outer,
                #[cfg(feature = "tower-sessions-import")]
                legacy: Mutex::new(context.legacy),
                began: Instant::now(),
                watch: Mutex::default(),
                state: Mutex::new(State::new(context.tokens)),
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
    /// [`anonymous_on_failure`](crate::session::SessionLayer::anonymous_on_failure)), a [corrupt](Error::is_corrupt) one
    /// when the record is not one of ours, a [codec](Error::is_codec) one when this value is not a `T`; the other values
    /// are still readable then, and this one stays as it is.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let pending = self.used().pending(key);
        let value = match pending {
            Some(value) => value,
            None => {
                self.load().await?;
                self.state().value(key)?
            }
        };
        value.map(|bytes| decode(key, &bytes)).transpose()
    }

    /// Sets the value under `key` when the response leaves. A value equal to the loaded one is not written.
    ///
    /// # Errors
    ///
    /// A [codec](Error::is_codec) error when the value cannot be encoded or is larger than
    /// [`MAX_VALUE`](crate::session::MAX_VALUE), or the key is empty, longer than [`MAX_KEY`](crate::session::MAX_KEY)
    /// or begins with `!` or `~`. Nothing changes then.
    pub fn insert<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), Error> {
        let value = encode(&self.store().settings.codec, key, value)?;
        let mut state = self.used();
        state.changes.fields.insert(key.to_owned(), Some(value));
        Ok(())
    }

    /// Removes the value under `key` when the response leaves.
    pub fn remove(&self, key: &str) {
        // Fields of this crate are not the handler's to remove.
        if !is_reserved(key) {
            self.used().changes.fields.insert(key.to_owned(), None);
        }
    }

    /// The public handle of the session once it was read or written, 22 characters. It stays over logins and rotations,
    /// and opens nothing.
    pub fn id(&self) -> Option<String> {
        let mut state = self.used();
        let id = state.id();
        if id.is_some() {
            state.note_read();
        }
        id
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
        // Whether it fails depends on the cookie.
        self.used().note_read();
        let _io = self.inner.io.lock().await;
        self.flush().await
    }

    /// Locks the state for a handler that uses the session, and marks the response as personal.
    pub(crate) fn used(&self) -> MutexGuard<'_, State> {
        self.mark_used();
        self.state()
    }

    pub(crate) fn mark_used(&self) {
        self.inner.personal.set();
    }

    /// This session, then those of the layers outside, from the innermost to the outermost.
    pub(crate) fn with_outer(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |session| session.inner.outer.as_ref())
    }

    pub(crate) fn has_cookie_of(&self, config: &Config) -> bool {
        self.inner.config.cookie.name() == config.cookie.name()
    }

    pub(crate) fn store(&self) -> &SessionStore {
        &self.inner.config.store
    }

    /// When the check of a login's credentials began.
    pub(crate) fn began(&self, login: &Login) -> Instant {
        login.checked_at.unwrap_or(self.inner.began)
    }

    /// Reports a token for which there is no session: to the log, and to the application's hook.
    pub(crate) fn report(&self, what: Suspicion, token: &Token) {
        let session = self.store().pseudonym(&token.id());
        tracing::debug!(target: "tower_fred::session", sid_hash = %session, "{}", what.text());
        if let Some(hook) = &self.inner.config.hook {
            hook.call(&SecurityEvent::new(
                what,
                session,
                self.inner.client.as_deref(),
            ));
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked; even then the state would be consistent.
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
