//! The policies that apply to a subject together.

use std::sync::{Arc, atomic::AtomicBool};

use bytes::Bytes;

use super::{gcra::Rate, items::PolicyItems, policy::Policy, quota::Quota};
use crate::rate_limit::subject::identity::Identity;

/// The policies that apply to a subject together: a request is counted by all of them or by none.
///
/// Made from a [`Quota`], a [`Policy`], or several policies. Cloning bumps a reference count.
///
/// ```
/// use tower_fred::rate_limit::{Policies, Policy, Quota};
///
/// let free = Policies::from([
///     Policy::new("burst", Quota::per_second(2)),
///     Policy::new("daily", Quota::per_day(1_000)),
/// ]);
/// let paid = Policies::from(Quota::per_second(50));
/// # assert_eq!((free.len(), paid.len()), (2, 1));
/// ```
#[derive(Clone, Debug)]
pub struct Policies {
    list: Arc<[Arc<Limit>]>,
    /// A digest of names, numbers and modes. Decisions under other numbers are stored under another fingerprint.
    pub(crate) fingerprint: u64,
}

/// A policy, and values that are derived from it once.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) policy: Policy,
    pub(crate) rate: Option<Rate>,
    /// The algorithm and its numbers, as the scripts take them.
    pub(crate) kind: Bytes,
    pub(crate) numbers: [Bytes; 3],
    /// The same numbers, which are below 2^53.
    pub(crate) doubles: [f64; 3],
    /// With GCRA: all its numbers as text. A budget on which other numbers may be used stores it beside the debt. Then
    /// it is the third argument of `decide.lua`, in place of the third number.
    pub(crate) mark: Option<Mark>,
    /// The end of its keys in Redis.
    pub(crate) suffix: String,
    /// Different for each algorithm, name and set of numbers.
    pub(crate) digest: Identity,
    /// Whether `PolicyNames` has compared it with the other policies of its name.
    pub(crate) noted: AtomicBool,
    pub(crate) fields: PolicyItems,
}

impl Policies {
    fn new(policies: impl IntoIterator<Item = Policy>) -> Self {
        let list: Vec<Arc<Limit>> = policies.into_iter().map(Limit::new).map(Arc::new).collect();
        assert!(!list.is_empty(), "no policies limit nothing");
        for (at, limit) in list.iter().enumerate() {
            let same = |other: &Arc<Limit>| other.policy.name() == limit.policy.name();
            assert!(!list[..at].iter().any(same), "two policies of one name");
        }
        let fingerprint = fingerprint(&list);
        let list = list.into();
        Self { list, fingerprint }
    }

    /// The number of policies.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The policies, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.list.iter().map(|limit| &limit.policy)
    }

    pub(crate) fn limits(&self) -> &[Arc<Limit>] {
        &self.list
    }

    /// These policies, each changed by `change`.
    pub(crate) fn map(&self, change: impl Fn(Policy) -> Policy) -> Self {
        Self::new(self.iter().cloned().map(change))
    }

    /// The only policy, under another name. Panics when there are several.
    pub(crate) fn named(&self, name: &str) -> Self {
        assert!(
            self.len() == 1,
            "several policies: name each with Policy::new"
        );
        self.map(|policy| policy.renamed(name))
    }

    /// These policies and one more.
    pub(crate) fn and(&self, policy: Policy) -> Self {
        Self::new(self.iter().cloned().chain([policy]))
    }
}

impl Limit {
    fn new(policy: Policy) -> Self {
        let (kind, numbers) = policy.script();
        let digest = Identity::numbers(kind, policy.name(), numbers, false);
        let budget = match kind {
            _ if !policy.is_named() => digest,
            "gcra" => Identity::from(policy.name()),
            _ => Identity::policy(kind, policy.name()),
        };
        Self {
            rate: policy.rate(),
            kind: Bytes::from_static(kind.as_bytes()),
            numbers: numbers.map(|number| Bytes::from(number.to_string())),
            doubles: numbers.map(|number| number as f64),
            mark: policy.rate().map(|rate| Mark::new(rate, policy.limit())),
            suffix: suffix(budget),
            digest,
            noted: AtomicBool::new(false),
            fields: PolicyItems::new(policy.name(), policy.quota(), policy.limit()),
            policy,
        }
    }
}

impl Limit {
    /// The end of the keys of all policies without a name that share the budget of this one, such as those of tiers.
    pub(crate) fn shared_suffix(&self) -> String {
        let (kind, numbers) = self.policy.script();
        let budget = Identity::numbers(kind, self.policy.name(), numbers, true);
        suffix(budget)
    }

    /// The same quota under GCRA, the algorithm of the local limiter; `None` for a shadow or concurrency policy.
    pub(crate) fn locally(self: &Arc<Self>) -> Option<(Arc<Self>, Rate)> {
        if self.policy.is_shadow() {
            return None;
        }
        if let Some(rate) = self.rate {
            return Some((Arc::clone(self), rate));
        }
        let quota = self.policy.quota()?;
        let quota = quota.burst(quota.permits());
        let limit = Self::new(Policy::new(self.policy.name(), quota));
        Some((Arc::new(limit), quota.rate()))
    }
}

impl From<Quota> for Policies {
    /// A policy without a name: its budget is named by its numbers, and clients see the name `default`.
    fn from(quota: Quota) -> Self {
        Policy::unnamed(quota).into()
    }
}

impl From<Policy> for Policies {
    fn from(policy: Policy) -> Self {
        Self::new([policy])
    }
}

impl<const N: usize> From<[Policy; N]> for Policies {
    /// Panics when there is none, or two have the same name.
    fn from(policies: [Policy; N]) -> Self {
        Self::new(policies)
    }
}

impl From<Vec<Policy>> for Policies {
    /// Panics when there is none, or two have the same name.
    fn from(policies: Vec<Policy>) -> Self {
        Self::new(policies)
    }
}

/// The end of a key: 66 bits of the digest, as a subject has few budgets, and no client chooses them.
fn suffix(budget: Identity) -> String {
    let name = budget.to_name();
    let bits = name.iter().take(11).copied().map(char::from);
    ['}'].into_iter().chain(bits).collect()
}

/// The numbers of GCRA as text, as a value in Redis has them: see [`mark`].
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// A colon, then the mark.
    stored: Bytes,
    /// Whether a microsecond has several ticks.
    has_ticks: bool,
}

impl Mark {
    fn new(rate: Rate, burst: u32) -> Self {
        Self {
            stored: [":", &mark(rate, burst)].concat().into(),
            has_ticks: rate.per_micro > 1,
        }
    }

    /// The mark alone.
    pub(crate) fn digits(&self) -> Bytes {
        self.stored.slice(1..)
    }

    /// What follows the time in a value with a mark.
    pub(crate) fn stored(&self) -> &[u8] {
        &self.stored
    }

    /// What follows the time in a value without a mark: a colon before the ticks.
    pub(crate) fn without_numbers(&self) -> &[u8] {
        if self.has_ticks { b":" } else { b"" }
    }
}

/// The numbers of GCRA as digits: a zero; the length of the burst minus one, in 1 digit; the lengths of the other two
/// numbers, in 2 digits each; the burst, ticks per permit, ticks per microsecond. NOTE: `script/lua/gcra.lua` reads it.
fn mark(rate: Rate, burst: u32) -> String {
    let [burst, permit, per_micro] =
        [burst.into(), rate.permit, rate.per_micro].map(|number: u64| number.to_string());
    let lengths = (burst.len() - 1, permit.len(), per_micro.len());
    format!(
        "0{}{:02}{:02}{burst}{permit}{per_micro}",
        lengths.0, lengths.1, lengths.2
    )
}

fn fingerprint(limits: &[Arc<Limit>]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for limit in limits {
        hasher.update(limit.suffix.as_bytes());
        for number in &limit.numbers {
            hasher.update(&(number.len() as u64).to_le_bytes());
            hasher.update(number);
        }
        hasher.update(&[limit.policy.is_shadow().into()]);
    }
    let mut digest = [0; 8];
    hasher.finalize_xof().fill(&mut digest);
    u64::from_le_bytes(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_numbers_are_other_policies() {
        let of = |quota| Policies::from(quota).fingerprint;
        assert_eq!(of(Quota::per_day(1)), of(Quota::per_day(1)));
        assert_ne!(of(Quota::per_day(1)), of(Quota::per_day(2)));
        let shadow = Policies::from(Policy::new("default", Quota::per_day(1)).shadow());
        assert_ne!(of(Quota::per_day(1)), shadow.fingerprint);
    }
}
