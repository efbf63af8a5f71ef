//! The object: named quotas over Redis.

use std::time::Duration;

use super::{
    decision::decision::Decision,
    engine::engine::Engine,
    quota::{
        claim::Claim,
        policies::Policies,
        policy::{Algorithm, Policy},
    },
    subject::identity::Identity,
};
use crate::{error::Error, redis::Redis};

/// Limits anything by any key, across all processes: what [`RateLimitLayer`](super::RateLimitLayer) does to requests.
///
/// Two limiters with the same namespace share the budgets of policies of the same name and algorithm. Their quotas must be
/// the same too; where one handle has others, that is logged as an error. A decision is one command, however many policies there are; the clock is the server's.
///
/// ```no_run
/// use tower_fred::{Redis, rate_limit::{Decision, Policy, Quota, RateLimiter}};
///
/// # async fn example(redis: Redis) -> Result<(), tower_fred::Error> {
/// let mails = RateLimiter::new(redis, Quota::per_hour(20))
///     .name("mails")
///     .policy(Policy::new("mails-daily", Quota::per_day(100)));
/// match mails.check("alice@example.com").await? {
///     Decision::Allow(admission) => println!("{} more", admission.remaining()),
///     Decision::Deny(denial) => println!("again in {:?}", denial.retry_after()),
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Clone
///
/// Cloning bumps reference counts; all clones are one limiter.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    engine: Engine,
    policies: Policies,
}

impl RateLimiter {
    /// A limiter with these policies: a [`Quota`](super::Quota) without a name, a [`Policy`], or several.
    pub fn new(redis: Redis, policies: impl Into<Policies>) -> Self {
        Self {
            engine: Engine::new(redis),
            policies: policies.into(),
        }
    }

    /// The name of the only policy. Part of the keys in Redis, and shown to clients by the layer. By default there is none:
    /// the budget belongs to the numbers of the quota, and clients are told `default`.
    ///
    /// # Panics
    ///
    /// When `name` is empty or has characters other than printable ASCII (RFC 9651 §3.3.3 has no others), or when there are
    /// several policies.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.policies = self.policies.named(name);
        self
    }

    /// How the quotas are kept; default [`Algorithm::Gcra`].
    ///
    /// # Panics
    ///
    /// As [`Policy::algorithm`].
    #[must_use]
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.policies = self.policies.map(|policy| policy.algorithm(algorithm));
        self
    }

    /// One more policy for the same subjects. A request is counted by all of them or by none.
    ///
    /// # Panics
    ///
    /// When there is a policy of that name already.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policies = self.policies.and(policy);
        self
    }

    /// Holds a request that would be admitted within this time until it is; default zero: it is denied at once.
    ///
    /// Those that wait are not counted until they are admitted, and are not in a queue: whoever asks first when a permit
    /// is back has it. Nobody waits for a place under a concurrency policy.
    #[must_use]
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.engine = self.engine.with_max_wait(max_wait);
        self
    }

    /// Takes up to `permits` at once from Redis and spends them without it; default 1, which takes none in advance.
    ///
    /// For subjects with many requests to one process: a request costs 1 / `permits` of a command. How many are taken
    /// follows how many were used, and those that were not used within a second are given back. Permits are counted when
    /// they are taken, so in any time a subject is admitted at most `permits` times per process more often than its
    /// policies say, and it may be denied while processes hold as many. A process that crashes loses what it holds.
    ///
    /// Not for a policy of [concurrency](Policy::concurrency) or a [shadow](Policy::shadow), which are asked each time.
    #[must_use]
    pub fn local_batch(mut self, permits: u32) -> Self {
        self.engine = self.engine.with_batches(permits);
        self
    }

    /// Asks Redis even when this process knows from a denial that there is no permit yet.
    ///
    /// For limiters whose budgets are often refunded or reset by other processes: those are noticed at once then. By
    /// default a denial is repeated without Redis until its time is over, or for a minute. What any layer or limiter of this
    /// handle gives back ends it at once. Where this handle gives permits back at all, a denial is repeated for a second at
    /// most, as other processes do so too: after a [`refund`](Self::refund) or a [`reset`](Self::reset), with
    /// [`local_batch`](Self::local_batch), with
    /// [`count_when`](super::RateLimitLayer::count_when), and with several subjects in a cluster.
    #[must_use]
    pub fn no_denial_memory(mut self) -> Self {
        self.engine = self.engine.without_denials();
        self
    }

    /// Asks for one permit for `key`.
    ///
    /// # Errors
    ///
    /// When Redis fails. The permit may have been counted if the error [is a timeout](Error::is_timeout); it is never
    /// counted twice.
    pub async fn check(&self, key: impl Into<Identity>) -> Result<Decision, Error> {
        self.check_n(key, 1).await
    }

    /// Asks for `cost` permits for `key`: all of them or none.
    ///
    /// More than a limit is denied for ever, without a time to retry. A cost of zero always passes, counts nothing, and so
    /// tells where `key` stands.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub async fn check_n(&self, key: impl Into<Identity>, cost: u64) -> Result<Decision, Error> {
        self.engine.decide(&[self.claim(key)], cost).await
    }

    /// What [`check`](Self::check) would say now. Nothing is counted.
    ///
    /// # Errors
    ///
    /// When Redis fails.
    pub async fn peek(&self, key: impl Into<Identity>) -> Result<Decision, Error> {
        self.engine.look(&[self.claim(key)], 1).await
    }

    /// Gives `permits` back that `key` did not need after all. No subject ever has more than its limits.
    ///
    /// # Errors
    ///
    /// When Redis fails.
    pub async fn refund(&self, key: impl Into<Identity>, permits: u64) -> Result<(), Error> {
        self.engine.refund(&[self.claim(key)], permits, None).await
    }

    /// Forgets `key`: it has all its permits again, and its places are free.
    ///
    /// # Errors
    ///
    /// When Redis fails.
    pub async fn reset(&self, key: impl Into<Identity>) -> Result<(), Error> {
        self.engine.reset(&self.claim(key)).await
    }

    /// Gives back what [`local_batch`](Self::local_batch) took in advance and nobody used: for the end of a process. The last
    /// clone does so by itself when it is dropped, if the runtime goes on for long enough.
    ///
    /// # Errors
    ///
    /// When Redis fails. Then the permits are back when their time is over.
    pub async fn give_back(&self) -> Result<(), Error> {
        self.engine.give_back().await
    }

    fn claim(&self, key: impl Into<Identity>) -> Claim {
        self.engine.names.of_limiter(&self.policies);
        Claim {
            identity: key.into(),
            policies: self.policies.clone(),
            unnamed: None,
        }
    }
}
