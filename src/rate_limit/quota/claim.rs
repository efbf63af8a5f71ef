//! A subject together with its policies, and the keys of their budgets in Redis.

use std::sync::Arc;

use bytes::Bytes;

use super::policies::{Limit, Policies};
use crate::rate_limit::subject::identity::Identity;

/// Whom a request counts against, and the policies that this subject is held to.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) identity: Identity,
    pub(crate) policies: Policies,
    /// Set where policies without a name share one budget although their numbers differ.
    pub(crate) unnamed: Option<Arc<UnnamedBudget>>,
}

/// One budget for policies without a name whose numbers depend on the request.
#[derive(Debug)]
pub(crate) struct UnnamedBudget {
    /// The algorithm that all these policies have.
    kind: Bytes,
    suffix: String,
}

impl Claim {
    pub(crate) fn limits(&self) -> impl Iterator<Item = &Arc<Limit>> {
        self.policies.limits().iter()
    }

    /// The key of this claim in the maps of this process: known denials, and batches.
    pub(crate) fn map_key(&self) -> (Identity, u64) {
        (self.identity, self.policies.fingerprint)
    }

    /// The keys in Redis, one for each policy. The braces are a hash tag: all keys of one subject are in one cluster
    /// slot.
    ///
    /// Earlier releases have names of another length, with 32 hexadecimal digits in the braces and after them. So neither
    /// reads what the other stores: while both run, each grants its own budget.
    pub(crate) fn keys(&self, namespace: &str) -> impl Iterator<Item = String> {
        self.limits().map(move |limit| self.key(limit, namespace))
    }

    /// The key in Redis of one of the policies.
    pub(crate) fn key(&self, limit: &Limit, namespace: &str) -> String {
        let suffix = self.unnamed(limit).map_or(&limit.suffix, |one| &one.suffix);
        let length = namespace.len() + KIND.len() + Identity::NAME + suffix.len();
        let mut key = String::with_capacity(length);
        key.push_str(namespace);
        key.push_str(KIND);
        key.extend(self.identity.to_name().map(char::from));
        key.push_str(suffix);
        key
    }

    /// The budget that a policy without a name shares with other numbers, if it shares one.
    fn unnamed(&self, limit: &Limit) -> Option<&UnnamedBudget> {
        let unnamed = self.unnamed.as_deref()?;
        (!limit.policy.is_named() && unnamed.kind == limit.kind).then_some(unnamed)
    }

    /// Whether other numbers may be used on this policy's budget.
    pub(crate) fn may_change(&self, limit: &Limit) -> bool {
        limit.policy.is_named() || self.unnamed(limit).is_some()
    }
}

/// What stands between the namespace and the subject.
const KIND: &str = ":r:{";

impl UnnamedBudget {
    pub(crate) fn of(limit: &Limit) -> Self {
        Self {
            kind: limit.kind.clone(),
            suffix: limit.shared_suffix(),
        }
    }
}
