//! The policies that a subject is held to together.

use std::sync::Arc;

use bytes::Bytes;

use super::{fields::Fields, gcra::Rate, identity::Identity, policy::Policy, quota::Quota};

/// The policies that a subject is held to together: a request is counted by all of them or by none.
///
/// Made from a [`Quota`], a [`Policy`], or several. Cloning bumps a reference count.
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
    /// A digest of all that they say: what was decided under other numbers is another matter.
    pub(super) fingerprint: u64,
}

/// A policy, and what follows from it.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) policy: Policy,
    pub(super) rate: Option<Rate>,
    /// The algorithm and its numbers, as the scripts take them.
    pub(super) kind: Bytes,
    pub(super) numbers: [Bytes; 3],
    /// What its keys end with.
    pub(super) suffix: String,
    pub(super) fields: Fields,
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

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The policies, as they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.list.iter().map(|limit| &limit.policy)
    }

    pub(super) fn limits(&self) -> &[Arc<Limit>] {
        &self.list
    }

    /// The same with each policy changed.
    pub(super) fn map(&self, change: impl Fn(Policy) -> Policy) -> Self {
        Self::new(self.iter().cloned().map(change))
    }

    /// These and another one.
    pub(super) fn and(&self, policy: Policy) -> Self {
        Self::new(self.iter().cloned().chain([policy]))
    }
}

impl Limit {
    fn new(policy: Policy) -> Self {
        let (kind, numbers) = policy.script();
        let name = match kind {
            "gcra" => Identity::from(policy.name()),
            _ => Identity::policy(kind, policy.name()),
        };
        Self {
            rate: policy.rate(),
            kind: Bytes::from_static(kind.as_bytes()),
            numbers: numbers.map(|number| Bytes::from(number.to_string())),
            suffix: format!("}}:{}", name.to_hex()),
            fields: Fields::new(policy.name(), policy.quota(), policy.limit()),
            policy,
        }
    }
}

impl Limit {
    /// The same quota by GCRA, which a process can keep by itself; `None` for what it cannot.
    pub(super) fn locally(self: &Arc<Self>) -> Option<(Arc<Self>, Rate)> {
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
    /// A policy with the name `default`.
    fn from(quota: Quota) -> Self {
        Policy::new("default", quota).into()
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
