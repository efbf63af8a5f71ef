use std::{fmt, sync::Arc};

use tower_layer::Layer;

use super::{
    config::{Config, Failure, MissingKey},
    headers::Fields,
    ip::PeerIp,
    key::Key,
    limiter::RateLimiter,
    quota::Quota,
    service::RateLimit,
};
use crate::redis::Redis;

/// Lets each client send so many requests and no more, across all processes. See the [module](crate::rate_limit).
///
/// # Clone
///
/// Cloning bumps reference counts. A clone and the services of all clones share what is counted within the process
/// while Redis fails; what is counted in Redis is shared by name.
pub struct RateLimitLayer<K = PeerIp> {
    key: Arc<K>,
    config: Config,
}

impl RateLimitLayer {
    /// Limits each peer address to `quota`, under the name `default`.
    pub fn new(redis: Redis, quota: Quota) -> Self {
        Self {
            key: Arc::new(PeerIp),
            config: Config::new(RateLimiter::new(redis, quota)),
        }
    }
}

impl<K> RateLimitLayer<K> {
    /// Counts by `key` instead of by peer address: [`Header`](super::Header), a function of the request's head, or a
    /// [`Key`] of your own.
    ///
    /// A closure names its argument's type: `.by(|request: &Parts| …)`.
    #[must_use]
    pub fn by<L: Key>(self, key: L) -> RateLimitLayer<L> {
        RateLimitLayer {
            key: Arc::new(key),
            config: self.config,
        }
    }

    /// The name of the policy; default `default`. Layers and [limiters](RateLimiter) of one name share their budgets;
    /// clients see it in `RateLimit`.
    ///
    /// # Panics
    ///
    /// When `name` is empty or has characters other than printable ASCII: RFC 9651 §3.3.3 has no others.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.config.limiter = self.config.limiter.name(name);
        self.config.fields = Fields::new(name, self.config.limiter.quota());
        self
    }

    /// While Redis fails, each process limits by itself with the same quota: the default.
    ///
    /// Then `n` processes admit up to `n` times the quota. It knows at most 65,536 clients; beyond that the ones that
    /// were idle longest start afresh.
    #[must_use]
    pub fn fail_local(self) -> Self {
        self.failure(Failure::Local)
    }

    /// While Redis fails, all requests pass.
    #[must_use]
    pub fn fail_open(self) -> Self {
        self.failure(Failure::Open)
    }

    /// While Redis fails, all requests are answered with 503 and `Retry-After`.
    #[must_use]
    pub fn fail_closed(self) -> Self {
        self.failure(Failure::Closed)
    }

    /// Requests without a key share one budget of the size of a client's: the default.
    ///
    /// So a mistake in the set-up cannot lift the limit. The first such request is logged, with what it lacks.
    #[must_use]
    pub fn missing_key_shared(self) -> Self {
        self.missing_key(MissingKey::Share)
    }

    /// Requests without a key pass, uncounted.
    ///
    /// Not for keys that a client may leave out as it likes.
    #[must_use]
    pub fn missing_key_allow(self) -> Self {
        self.missing_key(MissingKey::Allow)
    }

    /// Requests without a key are answered with 400.
    #[must_use]
    pub fn missing_key_deny(self) -> Self {
        self.missing_key(MissingKey::Deny)
    }

    fn failure(mut self, failure: Failure) -> Self {
        self.config.failure = failure;
        self
    }

    fn missing_key(mut self, missing_key: MissingKey) -> Self {
        self.config.missing_key = missing_key;
        self
    }
}

impl<S, K> Layer<S> for RateLimitLayer<K> {
    type Service = RateLimit<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, Arc::clone(&self.key), self.config.clone())
    }
}

impl<K> Clone for RateLimitLayer<K> {
    fn clone(&self) -> Self {
        Self {
            key: Arc::clone(&self.key),
            config: self.config.clone(),
        }
    }
}

impl<K> fmt::Debug for RateLimitLayer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

const _: () = {
    const fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<RateLimitLayer>();
    shared::<RateLimiter>();
};
