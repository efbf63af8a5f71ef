use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode, request::Parts, response};
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
        drain::DrainBounds,
        tiers::Tiers,
    },
};
use crate::{error::Error, redis::Redis};

/// Limits the requests of each client, across all processes. See the [module](crate::rate_limit).
///
/// # Clone
///
/// Cloning increments reference counts. Clones and their services share the state in the process. Counts in Redis are
/// shared by policies of the same name.
///
/// # Panics
///
/// When a service is made while another layer of the same handle has services with a policy of the same name and
/// algorithm but other numbers: both would use the same permits. Give one policy another name. For numbers that change
/// at run time, use [`policies_by`](Self::policies_by).
pub struct RateLimitLayer<K = PeerIp> {
    key: Arc<K>,
    config: Config,
    /// Whether the last key was set by `and_by`.
    last_is_other: bool,
}

impl RateLimitLayer {
    /// Limits each peer address by policies: a [`Quota`](super::Quota) without a name, a [`Policy`], or several.
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
    /// A closure needs the type of its argument: `.by(|request: &Parts| …)`.
    #[must_use]
    pub fn by<L: Key>(self, key: L) -> RateLimitLayer<L> {
        RateLimitLayer {
            key: Arc::new(key),
            config: self.config,
            last_is_other: false,
        }
    }

    /// Counts by another key too, with its own policies: by address and by account, say. A request is counted by all
    /// keys or by none.
    ///
    /// On one server this is still one command. In a cluster there is one per key, in parallel. If one denies, the
    /// others get their permits back, unless the process crashes in between.
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

    /// Requests without the last key set by [`by`](Self::by) or [`and_by`](Self::and_by) share one budget, as large as
    /// one client's: the default.
    ///
    /// So a wrong configuration cannot remove the limit. The first such request is logged, with what it lacks. When a
    /// part of a tuple is missing, only requests with the same other parts share a budget.
    #[must_use]
    pub fn missing_key_shared(self) -> Self {
        self.missing_key(MissingKey::Share)
    }

    /// Requests without the last key set by [`by`](Self::by) or [`and_by`](Self::and_by) are not counted by the
    /// policies of that key. The other keys still count them.
    ///
    /// Do not use this for a key that clients can leave out, unless another key counts them. A key whose lookup fails
    /// is not a missing key: [`Search::fallible`](super::Search::fallible).
    #[must_use]
    pub fn missing_key_allow(self) -> Self {
        self.missing_key(MissingKey::Allow)
    }

    /// Requests without the last key set by [`by`](Self::by) or [`and_by`](Self::and_by) are answered with 400.
    #[must_use]
    pub fn missing_key_deny(self) -> Self {
        self.missing_key(MissingKey::Deny)
    }

    /// Requests that match pass without being counted: health checks, or preflight requests of browsers.
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
    /// The name of the only policy. Layers and [limiters](super::RateLimiter) of one name share their budgets; clients
    /// see it in `RateLimit`. By default there is none: the numbers of the quota identify the budget, and clients see
    /// `default`.
    ///
    /// # Panics
    ///
    /// When `name` is empty or has characters other than printable ASCII (RFC 9651 §3.3.3 has no others), or when
    /// there are several policies.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.config.policies = self.config.policies.named(name);
        self
    }

    /// The algorithm of the layer's own policies; default [`Algorithm::Gcra`].
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

    /// Adds a policy for the layer's own key. A request is counted by all of them or by none.
    ///
    /// # Panics
    ///
    /// When a policy has that name already.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.config.policies = self.config.policies.and(policy);
        self
    }

    /// Other policies for some requests, such as those of a tier. `None`: the layer's.
    ///
    /// With the names of the layer's policies, or no name on either side, used permits still count when a client
    /// changes its tier: see [`Policy`].
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

    /// Other policies for some subjects, looked up in a database, say. `None`: the layer's.
    ///
    /// A result is kept for `keep`, for up to 16,384 subjects of the layer's own key. Without one, each request of the
    /// subject calls `find` and waits. If the lookup can fail, `find` chooses what applies then.
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

    /// How many permits a request costs; default 1. A request of cost 0 always passes and gets the current state.
    ///
    /// A cost above a limit is always denied, without a time to retry:
    /// [`permanent_denial_status`](Self::permanent_denial_status).
    #[must_use]
    pub fn cost(mut self, permits: u64) -> Self {
        self.config.cost = Cost::Fixed(permits);
        self
    }

    /// How many permits a request costs, from its head.
    #[must_use]
    pub fn cost_by(mut self, cost: impl Fn(&Parts) -> u64 + Send + Sync + 'static) -> Self {
        self.config.cost = Cost::Of(Arc::new(cost));
        self
    }

    /// Counts only requests whose response matches, such as failed logins. The others get their permits back.
    ///
    /// The layer takes the permits before it calls the service, so requests in progress never exceed the quota. Giving
    /// permits back is one more command, before the response is sent. A request stays counted if the service gives no
    /// response or Redis fails.
    ///
    /// If a request is denied while others of its subject are in progress in this process, the time to retry is at most
    /// one second, as their permits may be back then. A denial is repeated without Redis for one second at most, so
    /// that permits given back by other processes are noticed.
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
    /// Lets a request wait if it can be admitted within this time; default zero: it is denied at once. As
    /// [`RateLimiter::max_wait`].
    #[must_use]
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.config.engine = self.config.engine.with_max_wait(max_wait);
        self
    }

    /// Takes up to `permits` from Redis at once and uses them without it; default 1, which takes none in advance. Not
    /// with [`and_by`](Self::and_by). As [`RateLimiter::local_batch`], which has the bounds.
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

    /// Gives back unused permits of [`local_batch`](Self::local_batch). As [`RateLimiter::give_back`].
    ///
    /// # Errors
    ///
    /// When Redis fails. Then the permits return as if they had been used.
    pub async fn give_back(&self) -> Result<(), Error> {
        self.config.engine.give_back().await
    }

    /// While Redis fails, each process applies the same quotas by itself: the default.
    ///
    /// Then `n` processes admit up to `n` times a quota. All quotas use GCRA, and places are not counted. A process
    /// keeps at most 65,536 budgets; beyond that it resets those idle the longest. A request whose key lookup
    /// [fails](super::Search::fallible) is not counted by that key: add a limit by address.
    #[must_use]
    pub fn fail_local(self) -> Self {
        self.failure(Failure::Local)
    }

    /// While Redis fails, all requests pass. A key whose lookup [fails](super::Search::fallible) does not count the
    /// request.
    #[must_use]
    pub fn fail_open(self) -> Self {
        self.failure(Failure::Open)
    }

    /// While Redis fails, all requests are answered with 503 and `Retry-After`; so are requests whose key lookup
    /// [fails](super::Search::fallible).
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
    /// Makes all policies [shadows](Policy::shadow), which deny nothing: the log and the [`Decision`] show what they
    /// would deny. They are counted as if they were enforced. Clients do not see them.
    #[must_use]
    pub fn shadow(mut self) -> Self {
        self.config.shadow = true;
        self
    }

    /// The header fields of responses; default [`Dialect::Draft11`]. With none, a 429 still has `Retry-After`.
    ///
    /// # Which one clients read
    ///
    /// `Retry-After` is what most clients act on, and it does not depend on the dialect. Clients that you write
    /// yourself, with a parser for structured fields (RFC 9651), read [`Dialect::Draft11`], the only one that tells
    /// several policies. Clients made for GitHub's API read [`Dialect::LegacyEpoch`].
    ///
    /// A parser that knows only older drafts misreads this one: `ratelimit-header-parser` 0.1.0 for Node finds
    /// `RateLimit`, takes it for draft 7 and gives nulls, even where `X-RateLimit-*` stand beside it. For such clients
    /// choose [`Dialect::LegacyEpoch`] or [`Dialect::LegacyDelta`] alone.
    ///
    /// # Caches in front
    ///
    /// The fields are about one client. A shared cache in front of this layer stores them with a response and repeats
    /// them to other clients, whose limits they do not tell. By default, the layer adds nothing to `Cache-Control`
    /// against that. `no-cache="RateLimit, RateLimit-Policy"` (RFC 9111 §5.2.2.4) would say it, but many caches take
    /// that as `no-cache` without names, and then ask for each request. For responses that such a cache stores, use no
    /// dialect, or remove the fields in the cache. The `CacheLayer` of this crate does not store them.
    #[must_use]
    pub fn headers(mut self, dialects: impl IntoIterator<Item = Dialect>) -> Self {
        self.config.dialects = dialects.into_iter().collect();
        self
    }

    /// Answers a denied request with your own response. The layer adds its header fields to it.
    ///
    /// The default is a 429 with a problem (RFC 9457) if the client accepts one, else with a line of text. A denial that
    /// [is permanent](super::Denial::is_permanent) has [another status](Self::permanent_denial_status).
    #[must_use]
    pub fn rejection(
        mut self,
        response: impl Fn(&Parts, &Decision) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.config.reject = Some(Arc::new(response));
        self
    }

    /// The status of a denial that [is permanent](super::Denial::is_permanent), since the request costs more than a
    /// limit; default 400 Bad Request.
    ///
    /// It is not 429, since that asks the client to try later. Such an answer has no `Retry-After`, as there is no time
    /// at which the request would pass, and clients with a retry policy repeat a 429 without one at once. The request
    /// itself has to change. Choose 413 (Content Too Large) if the cost follows the size of the body. A
    /// [`rejection`](Self::rejection) has the status that it chooses.
    ///
    /// # Panics
    ///
    /// When `status` is not of the class 4xx or 5xx.
    #[must_use]
    pub fn permanent_denial_status(mut self, status: StatusCode) -> Self {
        let is_error = status.is_client_error() || status.is_server_error();
        assert!(is_error, "a denial is an error");
        self.config.permanent_denial = status;
        self
    }

    /// Before an answer of the layer itself (429, 400 or 503) ends, the rest of the request's body is read and thrown
    /// away: up to so many `bytes`, for up to this `time`; default 8 MiB and 2 s. With 0 bytes or no time, nothing is
    /// read.
    ///
    /// Without this, a client that is still sending does not see the answer. A server of HTTP/1.1 closes the connection
    /// after an answer to a request that was not read, and the data still on its way makes that a reset (RFC 9112
    /// §9.6). The client or the proxy in front then reports a broken connection, or a 502, and no `Retry-After`.
    ///
    /// The head of the answer is sent at once. Only the end of its body waits. Nothing waits:
    ///
    /// - if the body is at its end, or larger than `bytes` by its `Content-Length`;
    /// - with `Expect: 100-continue`, as the client has not begun to send (RFC 9110 §10.1.1);
    /// - in HTTP/2 and later, where the server can stop one stream by itself (RFC 9113 §8.1).
    ///
    /// A client that sends slowly, or stops when it sees the head of the answer, gets the end of the answer when the
    /// time is over. A denied request holds no place of a [concurrency](Policy::concurrency) policy meanwhile.
    #[must_use]
    pub fn drain_denied(mut self, bytes: u64, time: Duration) -> Self {
        self.config.drain = DrainBounds { bytes, time };
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
