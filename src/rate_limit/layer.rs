use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Response, request::Parts, response};
use tower_layer::Layer;

use super::{
    decision::{decision::Decision, headers::Dialect},
    limiter::RateLimiter,
    quota::{
        policies::Policies,
        policy::{Algorithm, Policy},
    },
    service::RateLimit,
    subject::{key::Key, peer_ip::PeerIp},
    verdict::{
        config::{Config, Cost, Failure, MissingKey, Rule},
        tiers::Tiers,
    },
};
use crate::{error::Error, redis::Redis};

/// Lets each client send so many requests and no more, across all processes. See the [module](crate::rate_limit).
///
/// # Clone
///
/// Cloning bumps reference counts. A clone and the services of all clones share what is known within the process; what is
/// counted in Redis is shared by the names of the policies.
///
/// # Panics
///
/// When a service is made while services of another layer of the same handle have a policy of the same name and algorithm
/// with other numbers: they would spend each other's permits. Give one of them another name. For numbers that change while
/// a process runs, there is [`policies_by`](Self::policies_by).
pub struct RateLimitLayer<K = PeerIp> {
    key: Arc<K>,
    config: Config,
    /// Whether the key that was named last is one of the others.
    last_is_other: bool,
}

impl RateLimitLayer {
    /// Holds each peer address to these policies: a [`Quota`](super::Quota) without a name, a [`Policy`], or several.
    pub fn new(redis: Redis, policies: impl Into<Policies>) -> Self {
        Self {
            key: Arc::new(PeerIp),
            config: Config::new(redis, policies.into()),
            last_is_other: false,
        }
    }
}

/// Who is limited.
impl<K> RateLimitLayer<K> {
    /// Counts by `key` instead of by peer address: [`ForwardedIp`](super::ForwardedIp), [`Header`](super::Header), a
    /// function of the request's head, a tuple of keys, or a [`Key`] of your own.
    ///
    /// A closure names its argument's type: `.by(|request: &Parts| …)`.
    #[must_use]
    pub fn by<L: Key>(self, key: L) -> RateLimitLayer<L> {
        RateLimitLayer {
            key: Arc::new(key),
            config: self.config,
            last_is_other: false,
        }
    }

    /// Counts by another key too, with policies of its own: each address and each account, say. A request is admitted by
    /// all of them or counted by none.
    ///
    /// On one server this is still one command. In a cluster there is one for each key, all at once, and what some admitted
    /// is given back when others deny; a crash in between leaves it counted.
    ///
    /// ```no_run
    /// # fn example(redis: tower_fred::Redis) {
    /// use tower_fred::{RateLimitLayer, rate_limit::{BearerToken, Policy, Quota}};
    ///
    /// let layer = RateLimitLayer::new(redis, Policy::new("address", Quota::per_minute(600)))
    ///     .and_by(BearerToken, Policy::new("account", Quota::per_hour(5_000)));
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When another policy of the layer has the name of one of these.
    #[must_use]
    pub fn and_by(mut self, key: impl Key, policies: impl Into<Policies>) -> Self {
        let key: Arc<dyn Key> = Arc::new(key);
        let policies = policies.into();
        for policy in policies.iter() {
            let others = self
                .config
                .rules
                .iter()
                .flat_map(|rule| rule.policies.iter());
            let mut others = self.config.policies.iter().chain(others);
            assert!(
                others.all(|other| other.name() != policy.name()),
                "two policies of one name"
            );
        }
        self.config.rules.push(Rule {
            key,
            policies,
            missing_key: MissingKey::Share,
        });
        self.last_is_other = true;
        self
    }

    /// Requests without the key that was named last, by [`by`](Self::by) or [`and_by`](Self::and_by), share one budget of the
    /// size of a client's: the default.
    ///
    /// So a mistake in the set-up cannot lift the limit. The first such request is logged, with what it lacks. Where a part
    /// of a tuple is missing, only requests with the same other parts share a budget.
    #[must_use]
    pub fn missing_key_shared(self) -> Self {
        self.missing_key(MissingKey::Share)
    }

    /// Requests without the key that was named last, by [`by`](Self::by) or [`and_by`](Self::and_by), are not counted by the
    /// policies of that key. The other keys count them as ever.
    ///
    /// Not for keys that a client may leave out as it likes, unless another key counts it. A key that cannot be looked up is
    /// not a missing key: [`Search::fallible`](super::Search::fallible).
    #[must_use]
    pub fn missing_key_allow(self) -> Self {
        self.missing_key(MissingKey::Allow)
    }

    /// Requests without the key that was named last, by [`by`](Self::by) or [`and_by`](Self::and_by), are answered with 400.
    #[must_use]
    pub fn missing_key_deny(self) -> Self {
        self.missing_key(MissingKey::Deny)
    }

    /// Requests that match pass, uncounted and untold: health checks, or the preflight requests of browsers.
    #[must_use]
    pub fn skip_when(mut self, skip: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.config.skip = Some(Arc::new(skip));
        self
    }

    fn missing_key(mut self, missing_key: MissingKey) -> Self {
        let other = self.config.rules.last_mut();
        match other.filter(|_| self.last_is_other) {
            Some(rule) => rule.missing_key = missing_key,
            None => self.config.missing_key = missing_key,
        }
        self
    }
}

/// How much.
impl<K> RateLimitLayer<K> {
    /// The name of the only policy. Layers and [limiters](super::RateLimiter) of one name share their budgets; clients see it
    /// in `RateLimit`. By default there is none: the budget belongs to the numbers of the quota, and clients are told
    /// `default`.
    ///
    /// # Panics
    ///
    /// When `name` is empty or has characters other than printable ASCII (RFC 9651 §3.3.3 has no others), or when there are
    /// several policies.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.config.policies = self.config.policies.named(name);
        self
    }

    /// How the quotas of the layer's own key are kept; default [`Algorithm::Gcra`].
    ///
    /// # Panics
    ///
    /// As [`Policy::algorithm`].
    #[must_use]
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        let policies = &self.config.policies;
        self.config.policies = policies.map(|policy| policy.algorithm(algorithm));
        self
    }

    /// One more policy for the layer's own key. A request is counted by all of them or by none.
    ///
    /// # Panics
    ///
    /// When there is a policy of that name already.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.config.policies = self.config.policies.and(policy);
        self
    }

    /// Other policies for some requests, such as those of a tier: `None` for the layer's.
    ///
    /// Where they have the names of the layer's, or neither has a name, a client that changes its tier keeps what it has
    /// used: see [`Policy`].
    ///
    /// ```no_run
    /// # fn example(redis: tower_fred::Redis) {
    /// use http::request::Parts;
    /// use tower_fred::{RateLimitLayer, rate_limit::{Policies, Quota}};
    ///
    /// #[derive(Clone)]
    /// struct Paid;
    ///
    /// let paid = Policies::from(Quota::per_second(50));
    /// let layer = RateLimitLayer::new(redis, Quota::per_second(2))
    ///     .policies_by(move |request: &Parts| request.extensions.get::<Paid>().map(|Paid| paid.clone()));
    /// # }
    /// ```
    #[must_use]
    pub fn policies_by(
        mut self,
        choose: impl Fn(&Parts) -> Option<Policies> + Send + Sync + 'static,
    ) -> Self {
        self.config.tiers = Some(Tiers::Direct(Arc::new(choose)));
        self
    }

    /// Other policies for some subjects, found somewhere else, such as in a database: `None` for the layer's.
    ///
    /// What is found is kept for `keep`, for up to 16,384 subjects of the layer's own key. Until then each request of a
    /// subject asks, and waits. A search that may fail says what holds then.
    ///
    /// ```no_run
    /// # fn example(redis: tower_fred::Redis) {
    /// use std::time::Duration;
    /// use http::request::Parts;
    /// use tower_fred::{RateLimitLayer, rate_limit::{Header, Policies, Quota}};
    ///
    /// async fn quota_of(tenant: String) -> Option<u32> {
    /// #   let _ = tenant;
    ///     // A query.
    ///     Some(100)
    /// }
    ///
    /// let name = http::HeaderName::from_static("x-tenant");
    /// let layer = RateLimitLayer::new(redis, Quota::per_second(2))
    ///     .by(Header::new(name.clone()))
    ///     .policies_from(Duration::from_secs(60), move |request: &Parts| {
    ///         let tenant = request.headers.get(&name).and_then(|name| name.to_str().ok());
    ///         let tenant = tenant.unwrap_or_default().to_owned();
    ///         async move { quota_of(tenant).await.map(|quota| Quota::per_second(quota).into()) }
    ///     });
    /// # }
    /// ```
    #[must_use]
    pub fn policies_from<F>(
        mut self,
        keep: Duration,
        find: impl Fn(&Parts) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Option<Policies>> + Send + 'static,
    {
        self.config.tiers = Some(Tiers::found(keep, find));
        self
    }

    /// How many permits a request costs; default 1. One that costs nothing always passes, and is told where it stands.
    ///
    /// What costs more than a limit is denied for ever, without a time to retry.
    #[must_use]
    pub fn cost(mut self, permits: u64) -> Self {
        self.config.cost = Cost::Fixed(permits);
        self
    }

    /// How many permits a request costs, by its head.
    #[must_use]
    pub fn cost_by(mut self, cost: impl Fn(&Parts) -> u64 + Send + Sync + 'static) -> Self {
        self.config.cost = Cost::Of(Arc::new(cost));
        self
    }

    /// Counts only requests whose response matches, such as failed logins: the others get their permits back.
    ///
    /// Permits are used before the service is called, so never more than the quota are on their way. Giving them back is
    /// one more command, before the response leaves. What the service fails to answer stays counted, and while Redis
    /// fails everything does.
    ///
    /// A request that is denied while others of its subject are under way in this process is told to come back after a
    /// second, as their permits may be back by then. A denial is known without Redis for a second at most, so that the
    /// permits that other processes give back are noticed.
    #[must_use]
    pub fn count_when(
        mut self,
        count: impl Fn(&response::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.config.count = Some(Arc::new(count));
        self.config.in_flight = Some(Arc::default());
        self.config.engine.refunds.expect();
        self
    }
}

/// How it is decided.
impl<K> RateLimitLayer<K> {
    /// Holds a request that would be admitted within this time until it is; default zero: it is denied at once. As
    /// [`RateLimiter::max_wait`].
    #[must_use]
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.config.engine = self.config.engine.with_max_wait(max_wait);
        self
    }

    /// Takes up to `permits` at once from Redis and spends them without it; default 1, which takes none in advance. Not with
    /// [`and_by`](Self::and_by). As [`RateLimiter::local_batch`], which has the bounds.
    #[must_use]
    pub fn local_batch(mut self, permits: u32) -> Self {
        self.config.engine = self.config.engine.with_batches(permits);
        self
    }

    /// Asks Redis even when this process knows from a denial that there is no permit yet. As
    /// [`RateLimiter::no_denial_memory`].
    #[must_use]
    pub fn no_denial_memory(mut self) -> Self {
        self.config.engine = self.config.engine.without_denials();
        self
    }

    /// Gives back what [`local_batch`](Self::local_batch) took in advance. As [`RateLimiter::give_back`].
    ///
    /// # Errors
    ///
    /// When Redis fails. Then the permits are back when their time is over.
    pub async fn give_back(&self) -> Result<(), Error> {
        self.config.engine.give_back().await
    }

    /// While Redis fails, each process limits by itself with the same quotas: the default.
    ///
    /// Then `n` processes admit up to `n` times a quota, whatever its algorithm by GCRA, and places are not counted. It
    /// knows at most 65,536 budgets; beyond that the ones that were idle longest start afresh. A request whose key
    /// [cannot be looked up](super::Search::fallible) is not counted by that key: put a limit by address beside it.
    #[must_use]
    pub fn fail_local(self) -> Self {
        self.failure(Failure::Local)
    }

    /// While Redis fails, all requests pass. What [cannot be looked up](super::Search::fallible) is not counted by that key.
    #[must_use]
    pub fn fail_open(self) -> Self {
        self.failure(Failure::Open)
    }

    /// While Redis fails, all requests are answered with 503 and `Retry-After`; so are those whose key
    /// [cannot be looked up](super::Search::fallible).
    #[must_use]
    pub fn fail_closed(self) -> Self {
        self.failure(Failure::Closed)
    }

    fn failure(mut self, failure: Failure) -> Self {
        self.config.failure = failure;
        self
    }
}

/// What clients are told.
impl<K> RateLimitLayer<K> {
    /// Refuses nothing: all policies are [shadows](Policy::shadow), to see in the log and in the [`Decision`] what they
    /// would do. They are counted as if they were enforced, and clients are told nothing.
    #[must_use]
    pub fn shadow(mut self) -> Self {
        self.config.shadow = true;
        self
    }

    /// Which header fields responses carry; default [`Dialect::Draft11`]. Without any there is still `Retry-After` on a 429.
    #[must_use]
    pub fn headers(mut self, dialects: impl IntoIterator<Item = Dialect>) -> Self {
        self.config.dialects = dialects.into_iter().collect();
        self
    }

    /// Answers a denied request with a response of your own. The header fields of this layer are added to it.
    ///
    /// The default is a 429 with a problem (RFC 9457) for clients that accept one, else with a line of text.
    #[must_use]
    pub fn rejection(
        mut self,
        response: impl Fn(&Parts, &Decision) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.config.reject = Some(Arc::new(response));
        self
    }
}

impl<S, K> Layer<S> for RateLimitLayer<K> {
    type Service = RateLimit<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, Arc::clone(&self.key), self.config.clone().settled())
    }
}

impl<K> Clone for RateLimitLayer<K> {
    fn clone(&self) -> Self {
        Self {
            key: Arc::clone(&self.key),
            config: self.config.clone(),
            last_is_other: self.last_is_other,
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
