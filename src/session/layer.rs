//! [`SessionLayer`]: the settings of a layer.

use std::{sync::Arc, time::Duration};

use http::{request::Parts, response};
use tower_layer::Layer;

use super::{
    callbacks::{
        client_description::ClientDescription,
        commit_predicate::CommitPredicate,
        security_event::{SecurityEvent, SecurityHook},
    },
    cookie::attributes::{CookieAttributes, DEFAULT_NAME, SameSite},
    handle::{config::Config, session::Session},
    nested_layers::Slot,
    service::Sessions,
    store::session_store::SessionStore,
};
use crate::redis::Redis;

/// Gives each request a [`Session`](super::Session). See the [module](crate::session).
///
/// The default cookie is `__Host-id` with Secure, `HttpOnly` and SameSite=Lax, and has no Max-Age: the browser drops it
/// when it ends. The server ends the session by its own clock in any case.
///
/// Settings that cannot work panic when they are set, never while a request runs.
///
/// ```no_run
/// use std::time::Duration;
/// use tower_fred::{Redis, SessionLayer, session::SameSite};
///
/// # async fn example() -> Result<(), tower_fred::Error> {
/// let redis = Redis::connect("redis://localhost").await?;
/// let layer = SessionLayer::new(redis)
///     .idle_timeout(Duration::from_secs(15 * 60))
///     .absolute_timeout(Duration::from_secs(8 * 60 * 60))
///     .same_site(SameSite::Strict);
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SessionLayer {
    pub(super) config: Arc<Config>,
    place: Slot,
}

impl SessionLayer {
    /// A layer with the default settings.
    pub fn new(redis: Redis) -> Self {
        Self::over(SessionStore::new(redis))
    }

    /// A layer over a store, with its settings.
    pub fn over(store: SessionStore) -> Self {
        Self {
            config: Arc::new(Config::new(store)),
            place: Slot::unmarked(),
        }
    }

    /// A layer for a second session of the same browser, beside the session of another layer: with a cookie and a
    /// [realm](SessionStore::realm) of this name, and given to handlers as [`Marked<M>`](super::Marked). A cookie of one
    /// layer opens nothing in the other. Two layers of one name are [one
    /// session](crate::session#layers-inside-of-layers).
    ///
    /// # Panics
    ///
    /// When the name is not of 1 to 64 lower-case letters, digits, `-` and `_`, or is `id`: that is the cookie of a layer
    /// without a marker.
    pub fn marked<M: 'static>(store: SessionStore, name: &str) -> Self {
        assert!(
            name != DEFAULT_NAME,
            "`{DEFAULT_NAME}` is the cookie of the layer without a marker: give this one another name"
        );
        let mut layer = Self::over(store.realm(name)).cookie_name(name);
        layer.place = Slot::marked::<M>();
        layer
    }

    /// The sessions of this layer, for [`list`](SessionStore::list) and [`revoke_all`](SessionStore::revoke_all) outside
    /// a request.
    pub fn store(&self) -> SessionStore {
        self.config.store.clone()
    }

    /// How long a session lives without use; default 30 minutes. See [`SessionStore::idle_timeout`].
    ///
    /// # Panics
    ///
    /// When it is not between 1 ms and 100 years.
    #[must_use]
    pub fn idle_timeout(self, timeout: Duration) -> Self {
        self.with_store(|store| store.idle_timeout(timeout))
    }

    /// How long a session lives in total, even when it is used; default 12 hours. Logins and rotations do not prolong it.
    ///
    /// # Panics
    ///
    /// When it is not between 1 ms and 100 years.
    #[must_use]
    pub fn absolute_timeout(self, timeout: Duration) -> Self {
        self.with_store(|store| store.absolute_timeout(timeout))
    }

    /// The cookie's name without prefix; default `id`, which is sent as `__Host-id`.
    ///
    /// The prefix is `__Secure-` once a [domain](Self::cookie_domain) or [path](Self::cookie_path) is set, and absent
    /// [without Secure](Self::no_secure). Layers around one handler need names of their own, unless they mean
    /// [the same session](crate::session#layers-inside-of-layers).
    ///
    /// # Panics
    ///
    /// When it is not of 1 to 128 characters of an HTTP token, or begins with a prefix that browsers give a meaning.
    #[must_use]
    pub fn cookie_name(self, name: impl Into<String>) -> Self {
        self.with_cookie(|cookie| cookie.with_name(name.into()))
    }

    /// Sends the cookie to this domain and all below it; default: only to the host that set it.
    ///
    /// Every host of the domain gets the cookie: do not set a domain with hosts that you do not trust.
    ///
    /// # Panics
    ///
    /// When it is no host name.
    #[must_use]
    pub fn cookie_domain(self, domain: impl Into<String>) -> Self {
        self.with_cookie(|cookie| cookie.with_domain(domain.into()))
    }

    /// Sends the cookie only with requests below this path; default `/`. This does not protect the cookie from other
    /// paths of the same host.
    ///
    /// # Panics
    ///
    /// When it does not begin with `/`, is longer than 1024 bytes, or has a `;` or other than visible ASCII characters.
    #[must_use]
    pub fn cookie_path(self, path: impl Into<String>) -> Self {
        self.with_cookie(|cookie| cookie.with_path(path.into()))
    }

    /// Which requests from other sites carry the cookie; default [`SameSite::Lax`].
    ///
    /// # Panics
    ///
    /// For [`SameSite::None`] after [`no_secure`](Self::no_secure): browsers drop such a cookie.
    #[must_use]
    pub fn same_site(self, same_site: SameSite) -> Self {
        self.with_cookie(|cookie| cookie.with_same_site(same_site))
    }

    /// Gives each site that embeds this one a cookie of its own (CHIPS, the attribute Partitioned). Useful only with
    /// [`SameSite::None`].
    ///
    /// # Panics
    ///
    /// After [`no_secure`](Self::no_secure): browsers drop such a cookie.
    #[must_use]
    pub fn partitioned(self) -> Self {
        self.with_cookie(CookieAttributes::with_partitions)
    }

    /// Leaves out Secure and the name's prefix, for development over plain HTTP. Never in production: the cookie would
    /// travel in plain text.
    ///
    /// # Panics
    ///
    /// After [`SameSite::None`] or [`partitioned`](Self::partitioned): browsers drop such a cookie.
    #[must_use]
    pub fn no_secure(self) -> Self {
        self.with_cookie(CookieAttributes::without_secure)
    }

    /// Continues with an empty session when Redis does not answer: reads find nothing, writes are dropped with a warning.
    ///
    /// By default such a read is an error and such a write turns the response into a 503. A logout that could not be
    /// carried out is a 503 in any case.
    #[must_use]
    pub fn anonymous_on_failure(mut self) -> Self {
        Arc::make_mut(&mut self.config).anonymous_on_failure = true;
        self
    }

    /// Which responses write the handler's changes; default: all but 408 and those of 5xx.
    ///
    /// When the predicate returns false, the changes are dropped, as the
    /// [module](crate::session#which-responses-count-as-failed) describes. It replaces the default, so it must itself
    /// return false for 408 and 5xx. Set one when your timeouts or load shedding answer with other statuses, or when you
    /// mark failed responses with an extension.
    ///
    /// ```no_run
    /// # fn example(layer: tower_fred::SessionLayer) {
    /// use http::StatusCode;
    ///
    /// // A layer inside of this one answers 429 for a handler that it drops.
    /// let layer = layer.commit_when(|response| {
    ///     let status = response.status;
    ///     !status.is_server_error()
    ///         && status != StatusCode::REQUEST_TIMEOUT
    ///         && status != StatusCode::TOO_MANY_REQUESTS
    /// });
    /// # let _ = layer;
    /// # }
    /// ```
    #[must_use]
    pub fn commit_when(
        mut self,
        commit: impl Fn(&response::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.config).commits = CommitPredicate::new(commit);
        self
    }

    /// Calls a function for each token for which there is no session, for example to count them by client. The function
    /// must be quick: the request waits for it.
    ///
    /// ```no_run
    /// # fn example(layer: tower_fred::SessionLayer) {
    /// use tower_fred::session::Suspicion;
    ///
    /// let layer = layer
    ///     .client_from(|parts| parts.headers.get("x-real-ip").map_or("?", |ip| ip.to_str().unwrap_or("?")).into())
    ///     .on_security_event(|event| {
    ///         if event.suspicion() == Suspicion::Mismatch {
    ///             eprintln!("{:?} guesses the secret of session {}", event.client(), event.session());
    ///         }
    ///     });
    /// # let _ = layer;
    /// # }
    /// ```
    #[must_use]
    pub fn on_security_event(
        mut self,
        hook: impl Fn(&SecurityEvent<'_>) + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.config).hook = Some(SecurityHook::new(hook));
        self
    }

    /// Sets the function that names the client of a request, for [`SecurityEvent::client`]. It is called for requests
    /// with a session cookie.
    #[must_use]
    pub fn client_from(
        mut self,
        describe: impl Fn(&Parts) -> String + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.config).describe = Some(ClientDescription::new(describe));
        self
    }

    /// Takes over the sessions that tower-sessions 0.14 and its Redis store 0.16 left on this server.
    ///
    /// When a handler uses its session, and the browser has no session of this crate but names an old one, the layer
    /// makes a new session with the old values and a new token, and removes the old cookie. The old record is only read.
    /// Values that a session of this crate cannot hold are left out, with a warning.
    ///
    /// When requests come at the same time with the same old cookie, one makes the new session, and its response carries
    /// the cookie. The others wait for it and get the same session, without a cookie of their own; so do requests that
    /// come within the [grace period](super::SessionStore::renewal_grace) after it. Later, the old cookie opens no
    /// session. When the request that makes the session does not finish, another one does it; a request that waits for
    /// longer than two deadlines gets an [unavailable](crate::Error::is_unavailable) error, 503 with `Retry-After` as a
    /// response.
    ///
    /// [`Session::logout`] also ends an old session that was not taken over yet. [`SessionStore::revoke_all`] does so
    /// for a user whom [`user_from`](super::TowerSessions::user_from) names: an old session is older than any
    /// revocation, so it is not taken over, and its cookie is removed. Without `user_from`, a revocation knows nothing
    /// of old sessions.
    ///
    /// The Redis user needs permission to `GET` the old keys.
    ///
    /// [`SessionStore::revoke_all`]: crate::session::SessionStore::revoke_all
    #[cfg(feature = "tower-sessions-import")]
    #[must_use]
    pub fn import_tower_sessions(mut self, from: super::TowerSessions) -> Self {
        Arc::make_mut(&mut self.config).import = Some(from);
        self
    }

    fn with_store(mut self, change: impl FnOnce(SessionStore) -> SessionStore) -> Self {
        let config = Arc::make_mut(&mut self.config);
        config.store = change(config.store.clone());
        self
    }

    fn with_cookie(mut self, change: impl FnOnce(CookieAttributes) -> CookieAttributes) -> Self {
        let config = Arc::make_mut(&mut self.config);
        config.cookie = change(config.cookie.clone());
        self
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = Sessions<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Sessions::new(inner, Arc::clone(&self.config), self.place)
    }
}

const _: () = {
    const fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<SessionLayer>();
    shared::<Sessions<()>>();
    shared::<Session>();
};
