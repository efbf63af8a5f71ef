//! Whom a request counts against.

use std::sync::Arc;

use bytes::Bytes;

use super::policies::{Limit, Policies};
use crate::rate_limit::subject::identity::Identity;

/// Whom a request counts against, and the policies that this subject is held to.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) identity: Identity,
    pub(crate) policies: Policies,
    /// Where policies without a name share a budget whatever their numbers.
    pub(crate) unnamed: Option<Arc<UnnamedBudget>>,
}

/// A budget of policies without a name whose numbers depend on who asks.
#[derive(Debug)]
pub(crate) struct UnnamedBudget {
    /// The algorithm of all of them.
    kind: Bytes,
    suffix: String,
}

impl Claim {
    pub(crate) fn limits(&self) -> impl Iterator<Item = &Arc<Limit>> {
        self.policies.limits().iter()
    }

    /// What the denials and the batches of this process know it by.
    pub(crate) fn place(&self) -> (Identity, u64) {
        (self.identity, self.policies.fingerprint)
    }

    /// The braces are a cluster's hash tag: all keys of one subject share a slot.
    pub(crate) fn keys(&self, namespace: &str) -> impl Iterator<Item = String> {
        let start = format!("{namespace}:r:{{{}", self.identity.to_hex());
        self.limits().map(move |limit| {
            let suffix = self.unnamed(limit).map_or(&limit.suffix, |one| &one.suffix);
            [&*start, suffix].concat()
        })
    }

    /// The budget that other numbers may share with these, though they have no name.
    fn unnamed(&self, limit: &Limit) -> Option<&UnnamedBudget> {
        let unnamed = self.unnamed.as_deref()?;
        (!limit.policy.is_named() && unnamed.kind == limit.kind).then_some(unnamed)
    }

    /// Whether a budget may get other numbers.
    pub(crate) fn may_change(&self, limit: &Limit) -> bool {
        limit.policy.is_named() || self.unnamed(limit).is_some()
    }
}

impl UnnamedBudget {
    pub(crate) fn of(limit: &Limit) -> Self {
        Self {
            kind: limit.kind.clone(),
            suffix: limit.shared_suffix(),
        }
    }
}
