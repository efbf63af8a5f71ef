//! The layer: settings, and the service it makes.

use std::{sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{
    config::{CookieConfig, SameSite},
    service::Sessions,
    store::SessionStore,
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
    pub(super) shared: Arc<Shared>,
}

/// What all services and requests of a layer share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) store: SessionStore,
    pub(super) cookie: CookieConfig,
    pub(super) anonymous_on_failure: bool,
}

impl SessionLayer {
    /// A layer with the default settings.
    pub fn new(redis: Redis) -> Self {
        Self {
            shared: Arc::new(Shared {
                store: SessionStore::new(redis),
                cookie: CookieConfig::new(),
                anonymous_on_failure: false,
            }),
        }
    }

    /// How long a session lives without being used; default 30 minutes. See [`SessionStore::idle_timeout`].
    ///
    /// # Panics
    ///
    /// When it is not between 1 ms and 100 years.
    #[must_use]
    pub fn idle_timeout(self, timeout: Duration) -> Self {
        self.with_store(|store| store.idle_timeout(timeout))
    }

    /// How long a session lives in all, however much it is used; default 12 hours. Logins and rotations do not prolong it.
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
    /// [without Secure](Self::no_secure).
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
    /// Not for a domain whose other hosts you do not trust: they get the cookie, too.
    ///
    /// # Panics
    ///
    /// When it is no host name.
    #[must_use]
    pub fn cookie_domain(self, domain: impl Into<String>) -> Self {
        self.with_cookie(|cookie| cookie.with_domain(domain.into()))
    }

    /// Sends the cookie only with requests below this path; default `/`. It is no defence between paths of one host.
    ///
    /// # Panics
    ///
    /// When it does not begin with `/`, is longer than 1024 bytes, or has a `;` or other than visible ASCII characters.
    #[must_use]
    pub fn cookie_path(self, path: impl Into<String>) -> Self {
        self.with_cookie(|cookie| cookie.with_path(path.into()))
    }

    /// With which requests of other sites the cookie is sent; default [`SameSite::Lax`].
    ///
    /// # Panics
    ///
    /// For [`SameSite::None`] after [`no_secure`](Self::no_secure): browsers drop such a cookie.
    #[must_use]
    pub fn same_site(self, same_site: SameSite) -> Self {
        self.with_cookie(|cookie| cookie.with_same_site(same_site))
    }

    /// Leaves out Secure and the name's prefix, for development over plain HTTP. Never in production: the cookie would
    /// travel in plain text.
    ///
    /// # Panics
    ///
    /// After [`SameSite::None`]: browsers drop such a cookie.
    #[must_use]
    pub fn no_secure(self) -> Self {
        self.with_cookie(CookieConfig::without_secure)
    }

    /// Goes on with an empty session when Redis does not answer: reads find nothing, writes are dropped with a warning.
    ///
    /// By default such a read is an error and such a write turns the response into a 503. A logout that could not be
    /// carried out is a 503 in any case.
    #[must_use]
    pub fn anonymous_on_failure(mut self) -> Self {
        Arc::make_mut(&mut self.shared).anonymous_on_failure = true;
        self
    }

    fn with_store(mut self, change: impl FnOnce(SessionStore) -> SessionStore) -> Self {
        let shared = Arc::make_mut(&mut self.shared);
        shared.store = change(shared.store.clone());
        self
    }

    fn with_cookie(mut self, change: impl FnOnce(CookieConfig) -> CookieConfig) -> Self {
        let shared = Arc::make_mut(&mut self.shared);
        shared.cookie = change(shared.cookie.clone());
        self
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = Sessions<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Sessions::new(inner, Arc::clone(&self.shared))
    }
}
