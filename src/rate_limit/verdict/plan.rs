//! What a request asks for, as far as its head tells.

use std::sync::Arc;

use http::request::Parts;

use super::{
    config::{Config, MissingKey},
    tiers::{Choice, Tiers},
};
use crate::rate_limit::{
    quota::policies::Policies,
    subject::{key::Key, lookup::Lookup, search::Found},
};

/// What a request asks for, as far as its head tells.
#[derive(Debug)]
pub(crate) enum Plan {
    Decide {
        subjects: Vec<Subject>,
        cost: u64,
    },
    /// Let it pass, uncounted.
    Pass,
}

/// What a key says about a request, and the policies for that.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) who: Lookup,
    pub(crate) policies: Policies,
    /// Other policies than those.
    pub(crate) choice: Option<Choice>,
    pub(crate) missing_key: MissingKey,
    /// Whether this is the layer's own key.
    pub(crate) is_own: bool,
    /// For the log: what a request without it lacks.
    pub(crate) needs: Option<Arc<str>>,
}

impl Subject {
    /// Whether who it is, or what it is held to, has to be looked up.
    pub(crate) fn needs_search(&self) -> bool {
        let is_open = matches!(self.choice, Some(Choice::Open(..)));
        is_open || matches!(self.who, Lookup::Search(_))
    }
}

impl Config {
    /// Asks all that the application says about a request.
    pub(crate) fn plan(&self, key: &dyn Key, request: &Parts) -> Plan {
        if self.skip.as_ref().is_some_and(|skip| skip(request)) {
            return Plan::Pass;
        }
        let own = (key, &self.policies, self.tiers.as_ref(), self.missing_key);
        let others = self
            .rules
            .iter()
            .map(|rule| (&*rule.key, &rule.policies, None, rule.missing_key));
        let subject =
            |(key, policies, tiers, missing_key): (&dyn Key, &Policies, Option<&Tiers>, _)| {
                if key.is_of_peer() {
                    self.note_proxy(request);
                }
                let who = Lookup::of(key, request);
                let known = match who {
                    Lookup::Known(Found::Identity(identity)) => Some(identity),
                    Lookup::Known(Found::Missing(_)) | Lookup::Search(_) => None,
                };
                Subject {
                    is_own: std::ptr::addr_eq(policies, &self.policies),
                    needs: known.is_none().then(|| key.needs().into()),
                    choice: tiers.map(|tiers| tiers.choose(request, known)),
                    who,
                    policies: policies.clone(),
                    missing_key,
                }
            };
        Plan::Decide {
            subjects: [own].into_iter().chain(others).map(subject).collect(),
            cost: self.cost.of(request),
        }
    }
}
