//! The object: a named quota over Redis.

use std::sync::Arc;

use super::{
    decision::Decision,
    gcra::{Outcome, Rate},
    identity::Identity,
    quota::Quota,
};
use crate::{
    error::Error,
    redis::{Redis, Script, Value},
};

/// Limits anything by any key, across all processes: what [`RateLimitLayer`](super::RateLimitLayer) does to requests.
///
/// Two limiters with the same namespace and the same [name](Self::name) share their budgets, whatever their quotas. A
/// decision is one command; the clock is the server's.
///
/// ```no_run
/// use tower_fred::{Redis, rate_limit::{Decision, Quota, RateLimiter}};
///
/// # async fn example(redis: Redis) -> Result<(), tower_fred::Error> {
/// let mails = RateLimiter::new(redis, Quota::per_hour(20)).name("mails");
/// match mails.check("alice@example.com").await? {
///     Decision::Allow(standing) => println!("{} more", standing.remaining()),
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
    redis: Redis,
    policy: Arc<Policy>,
}

#[derive(Debug)]
struct Policy {
    name: Arc<str>,
    quota: Quota,
    rate: Rate,
    /// The rate as the script takes it.
    arguments: [Value; 3],
    /// What comes before and after the identity in a key.
    prefix: String,
    suffix: String,
}

impl RateLimiter {
    /// A limiter with the name `default`.
    pub fn new(redis: Redis, quota: Quota) -> Self {
        let policy = Arc::new(Policy::new(redis.namespace(), "default", quota));
        Self { redis, policy }
    }

    /// The name of the policy; default `default`. Part of the keys in Redis, and shown to clients by the layer.
    ///
    /// # Panics
    ///
    /// When `name` is empty or has characters other than printable ASCII: RFC 9651 §3.3.3 has no others.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        let printable = |byte: u8| matches!(byte, b' '..=b'~');
        assert!(
            !name.is_empty() && name.bytes().all(printable),
            "the name of a policy must be printable ASCII"
        );
        let namespace = self.redis.namespace();
        self.policy = Arc::new(Policy::new(namespace, name, self.policy.quota));
        self
    }

    /// Asks for one permit for `key`.
    ///
    /// # Errors
    ///
    /// When Redis fails. The permit may have been counted if the error [is a timeout](Error::is_timeout); it is never
    /// counted twice.
    pub async fn check(&self, key: impl Into<Identity>) -> Result<Decision, Error> {
        self.decide(key.into(), 1).await
    }

    /// Asks for `cost` permits for `key`: all of them or none.
    ///
    /// More than a full burst is denied for ever, without a time to retry. A cost of zero always passes, counts
    /// nothing, and so tells where `key` stands.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub async fn check_n(&self, key: impl Into<Identity>, cost: u32) -> Result<Decision, Error> {
        self.decide(key.into(), cost).await
    }

    async fn decide(&self, identity: Identity, cost: u32) -> Result<Decision, Error> {
        let policy = &*self.policy;
        let [permit, per_micro, capacity] = policy.arguments.clone();
        let arguments = [permit, per_micro, capacity, number(cost.into())];
        let (admitted, debt): (bool, u64) = self
            .redis
            .run(&GCRA, &policy.key(identity), arguments)
            .await?;
        Ok(self.decision(Outcome { admitted, debt }, cost))
    }

    pub(super) fn decision(&self, outcome: Outcome, cost: u32) -> Decision {
        let Policy {
            name, quota, rate, ..
        } = &*self.policy;
        Decision::new(name, *quota, rate, outcome, cost)
    }

    pub(super) fn policy(&self) -> &str {
        &self.policy.name
    }

    pub(super) fn quota(&self) -> Quota {
        self.policy.quota
    }

    pub(super) fn rate(&self) -> &Rate {
        &self.policy.rate
    }
}

impl Policy {
    fn new(namespace: &str, name: &str, quota: Quota) -> Self {
        let rate = quota.rate();
        Self {
            name: name.into(),
            quota,
            rate,
            arguments: [rate.permit, rate.per_micro, rate.capacity].map(number),
            prefix: format!("{namespace}:r:{{"),
            suffix: format!("}}:{}", Identity::from(name).to_hex()),
        }
    }

    /// The braces are a cluster's hash tag: all keys of one subject share a slot.
    fn key(&self, identity: Identity) -> String {
        [&self.prefix, identity.to_hex().as_str(), &self.suffix].concat()
    }
}

/// A number as an argument of a script.
fn number(number: u64) -> Value {
    Value::from(number.to_string())
}

static GCRA: Script = Script::new(include_str!("gcra.lua"));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(namespace: &str, name: &str, subject: &[u8]) -> String {
        Policy::new(namespace, name, Quota::per_second(1)).key(subject.into())
    }

    proptest! {
        #[test]
        fn keys_meet_only_for_the_same_namespace_name_and_subject(
            a in ("[:ar]{1,4}", "[ -~]{1,3}", any::<Vec<u8>>()),
            b in ("[:ar]{1,4}", "[ -~]{1,3}", any::<Vec<u8>>()),
            take in any::<[bool; 3]>(),
        ) {
            // A stranger that has some of the parts in common.
            let c = (
                if take[0] { &a.0 } else { &b.0 },
                if take[1] { &a.1 } else { &b.1 },
                if take[2] { &a.2 } else { &b.2 },
            );
            let same = (&a.0, &a.1, &a.2) == c;
            prop_assert_eq!(same, key(&a.0, &a.1, &a.2) == key(c.0, c.1, c.2));
        }

        #[test]
        fn a_key_tells_nothing_and_has_one_hash_tag(name in "[ -~]{1,99}", subject: Vec<u8>) {
            let key = key("shop", &name, &subject);
            let (tag, policy) = key.strip_prefix("shop:r:{").and_then(|rest| rest.split_once("}:")).expect("a tag");
            for part in [tag, policy] {
                prop_assert!(part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", key);
            }
        }
    }
}
