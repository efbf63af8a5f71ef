//! What a layer is told to do.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use bytes::Bytes;
use http::{HeaderName, Response, StatusCode, header, request, response};
use tokio::time::Instant;

use super::{
    drain::DrainBounds,
    failing::{CHECKS, Failing, SEARCHES},
    in_flight::InFlight,
    tiers::Tiers,
};
use crate::{
    error::Error,
    rate_limit::{
        decision::{decision::Decision, headers::Dialect},
        engine::{engine::Engine, local_limiter::LocalLimiter},
        quota::{claim::UnnamedBudget, policies::Policies, policy::Policy},
        subject::{key::Key, search},
    },
    redis::Redis,
};

/// The settings of a layer, and the state that all its services share.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) engine: Engine,
    /// Those of the layer's own key.
    pub(crate) policies: Policies,
    /// Other keys and theirs.
    pub(crate) rules: Vec<Rule>,
    pub(crate) tiers: Option<Tiers>,
    /// The budget that tiers without names share.
    pub(crate) unnamed: Option<Arc<UnnamedBudget>>,
    pub(crate) cost: Cost,
    pub(crate) skip: Option<Arc<Test<request::Parts>>>,
    pub(crate) count: Option<Arc<Test<response::Parts>>>,
    /// The requests that may give their permits back.
    pub(crate) in_flight: Option<Arc<InFlight>>,
    pub(crate) reject: Option<Arc<Reject>>,
    pub(crate) dialects: Arc<[Dialect]>,
    /// The status of a denial that is permanent.
    pub(crate) permanent_denial: StatusCode,
    /// For the bodies of requests that the layer answers by itself.
    pub(crate) drain: DrainBounds,
    pub(crate) shadow: bool,
    /// For the layer's own key.
    pub(crate) missing_key: MissingKey,
    pub(crate) failure: Failure,
    pub(crate) shared: Arc<Shared>,
}

/// Whether a head matches.
pub(crate) type Test<T> = dyn Fn(&T) -> bool + Send + Sync;

/// Makes the response to a denied request.
pub(crate) type Reject = dyn Fn(&request::Parts, &Decision) -> Response<Bytes> + Send + Sync;

/// A key, and what its subjects are held to.
#[derive(Clone)]
pub(crate) struct Rule {
    pub(crate) key: Arc<dyn Key>,
    pub(crate) policies: Policies,
    pub(crate) missing_key: MissingKey,
}

/// How many permits a request costs.
#[derive(Clone)]
pub(crate) enum Cost {
    Fixed(u64),
    Of(Arc<dyn Fn(&request::Parts) -> u64 + Send + Sync>),
}

/// What happens to a request without a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MissingKey {
    Share,
    Allow,
    Deny,
}

/// What happens to a request when Redis fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    Local,
    Open,
    Closed,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) local: LocalLimiter,
    /// When this was made, on a clock that is never set, and in microseconds since 1970.
    started: (Instant, u64),
    failing: Failing,
    search_failing: Failing,
    upgrade_was_seen: AtomicBool,
    key_was_missing: AtomicBool,
    proxy_was_seen: AtomicBool,
}

impl Config {
    pub(crate) fn new(redis: Redis, policies: Policies) -> Self {
        Self {
            engine: Engine::new(redis),
            policies,
            rules: Vec::new(),
            tiers: None,
            unnamed: None,
            cost: Cost::Fixed(1),
            skip: None,
            count: None,
            in_flight: None,
            reject: None,
            dialects: [Dialect::Draft11].into(),
            drain: DrainBounds::default(),
            permanent_denial: StatusCode::BAD_REQUEST,
            shadow: false,
            missing_key: MissingKey::Share,
            failure: Failure::Local,
            shared: Arc::new(Shared {
                local: LocalLimiter::new(LOCAL_BUDGETS),
                started: (Instant::now(), unix_micros()),
                failing: Failing::default(),
                search_failing: Failing::default(),
                upgrade_was_seen: AtomicBool::new(false),
                key_was_missing: AtomicBool::new(false),
                proxy_was_seen: AtomicBool::new(false),
            }),
        }
    }

    /// With the policies as they are enforced. Panics when another layer has one of the names with other numbers.
    pub(crate) fn settled(mut self) -> Self {
        if self.tiers.is_some() {
            let mut limits = self.policies.limits().iter();
            let unnamed = limits.find(|limit| !limit.policy.is_named());
            self.unnamed = unnamed.map(|limit| Arc::new(UnnamedBudget::of(limit)));
        }
        self.policies = self.enforced(self.policies.clone());
        for rule in &mut self.rules {
            if self.shadow {
                rule.policies = rule.policies.map(Policy::shadow);
            }
        }
        let rules = self.rules.iter().map(|rule| &rule.policies);
        for policies in [&self.policies].into_iter().chain(rules) {
            match self.engine.names.of_layer(policies) {
                Ok(()) => {}
                Err(conflict) if conflict.of_layers => panic!("{conflict}"),
                Err(conflict) => self.engine.names.log(&conflict),
            }
        }
        self
    }

    pub(crate) fn enforced(&self, policies: Policies) -> Policies {
        match self.shadow {
            true => policies.map(Policy::shadow),
            false => policies,
        }
    }

    /// The names of the policies, for the log.
    pub(crate) fn names(&self) -> String {
        let rules = self.rules.iter().flat_map(|rule| rule.policies.iter());
        let names = self.policies.iter().chain(rules).map(Policy::name);
        names.collect::<Vec<_>>().join(", ")
    }

    /// Logs once that a request came without a key.
    pub(crate) fn note_missing_key(&self, needs: &str, then: MissingKey) {
        if self.shared.key_was_missing.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(
            target: "tower_fred::rate_limit",
            policy = self.names(),
            needs,
            ?then,
            "a request has no rate limit key"
        );
    }

    /// Logs once that a request came through a proxy and is counted by the address of that proxy.
    pub(crate) fn note_proxy(&self, request: &request::Parts) {
        let fields = [X_FORWARDED_FOR, header::FORWARDED];
        let seen = &self.shared.proxy_was_seen;
        // Read before writing: all requests share the flag.
        if seen.load(Ordering::Relaxed)
            || !fields
                .iter()
                .any(|field| request.headers.contains_key(field))
            || seen.swap(true, Ordering::Relaxed)
        {
            return;
        }
        tracing::warn!(
            target: "tower_fred::rate_limit",
            policy = self.names(),
            "a request with X-Forwarded-For or Forwarded is counted by the address of its peer: \
             all clients of a proxy are one subject, unless the key is ForwardedIp"
        );
    }

    /// Logs the first failure after a success, at most one a second.
    pub(crate) fn note_failure(&self, error: Option<&Error>) {
        if let Some(error) = self.shared.failing.first(error, &CHECKS) {
            tracing::warn!(
                target: "tower_fred::rate_limit",
                policy = self.names(),
                then = ?self.failure,
                %error,
                "cannot ask redis about a rate limit"
            );
        }
    }

    /// The same for a search, which need not be one in Redis.
    pub(crate) fn note_search(&self, error: Option<&search::Failure>) {
        if let Some(error) = self.shared.search_failing.first(error, &SEARCHES) {
            tracing::warn!(
                target: "tower_fred::rate_limit",
                policy = self.names(),
                then = ?self.failure,
                %error,
                "cannot look up whom a request counts against"
            );
        }
    }

    /// Logs once that a connection was upgraded and gave its place back.
    pub(crate) fn note_upgrade(&self) {
        if !self.shared.upgrade_was_seen.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "tower_fred::rate_limit",
                policy = self.names(),
                "an upgraded connection holds no place: its handler keeps none of Places"
            );
        }
    }
}

impl Shared {
    /// Microseconds since 1970, by a clock that is never set.
    pub(crate) fn now(&self) -> u64 {
        let (then, micros) = self.started;
        let since = u64::try_from(then.elapsed().as_micros()).unwrap_or(u64::MAX);
        micros.saturating_add(since)
    }
}

impl Cost {
    pub(crate) fn of(&self, request: &request::Parts) -> u64 {
        match self {
            Self::Fixed(cost) => *cost,
            Self::Of(cost) => cost(request),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("policies", &self.names())
            .field("tiers", &self.tiers)
            .field("dialects", &self.dialects)
            .field("drain", &self.drain)
            .field("shadow", &self.shadow)
            .field("missing_key", &self.missing_key)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

fn unix_micros() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How many budgets are kept within the process while Redis fails: a few megabytes.
const LOCAL_BUDGETS: usize = 65_536;
