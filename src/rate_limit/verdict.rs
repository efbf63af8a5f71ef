//! From a request to what is to be done with it.

use http::request::Parts;

use super::{
    call::Claim,
    config::{Config, Failure, MissingKey},
    decision::{Decision, Reading, Request, Standing},
    identity::Identity,
    key::Key,
    tiers::Choice,
};

/// What a request asks for, as far as its head tells.
#[derive(Debug)]
pub(super) enum Plan {
    Decide {
        claims: Vec<Claim>,
        /// The policies of the first claim, if they are not those of the layer.
        choice: Option<Choice>,
        cost: u64,
    },
    /// Let it pass, uncounted.
    Pass,
    /// It lacks a key.
    NoKey,
}

/// What to do with a request.
#[derive(Debug)]
pub(super) enum Verdict {
    /// A decision, of Redis or of this process, on these claims and this cost.
    Decided(Decision, Vec<Claim>, u64),
    /// Let it pass, uncounted.
    Pass,
    /// It lacks a key.
    NoKey,
    /// There is no telling.
    Unavailable,
}

impl Config {
    /// Asks all that the application says about a request.
    pub(super) fn plan(&self, key: &dyn Key, request: &Parts) -> Plan {
        if self.skip.as_ref().is_some_and(|skip| skip(request)) {
            return Plan::Pass;
        }
        let keys = [(key, &self.policies)].into_iter();
        let others = self.rules.iter().map(|rule| (&*rule.key, &rule.policies));
        let mut claims = Vec::with_capacity(1 + self.rules.len());
        let mut choice = None;
        for (at, (key, policies)) in keys.chain(others).enumerate() {
            let identity = match (key.identity(request), self.missing_key) {
                (Some(identity), _) => identity,
                (None, missing) => {
                    self.note_missing_key(key.needs());
                    match missing {
                        MissingKey::Share => Identity::nobody(),
                        MissingKey::Allow => continue,
                        MissingKey::Deny => return Plan::NoKey,
                    }
                }
            };
            if let (0, Some(tiers)) = (at, &self.tiers) {
                choice = Some(tiers.choose(request, identity));
            }
            let policies = policies.clone();
            claims.push(Claim { identity, policies });
        }
        if claims.is_empty() {
            return Plan::Pass;
        }
        let cost = self.cost.of(request);
        Plan::Decide {
            claims,
            choice,
            cost,
        }
    }

    pub(super) async fn decide(&self, plan: Plan) -> Verdict {
        let (mut claims, choice, cost) = match plan {
            Plan::Decide {
                claims,
                choice,
                cost,
            } => (claims, choice, cost),
            Plan::Pass => return Verdict::Pass,
            Plan::NoKey => return Verdict::NoKey,
        };
        if let (Some(choice), Some(first)) = (choice, claims.first_mut()) {
            if let Some(policies) = choice.made().await {
                first.policies = self.enforced(policies);
            }
        }
        let decided = self.engine.decide(&claims, cost).await;
        self.note_failure(decided.as_ref().err());
        match (decided, self.failure) {
            (Ok(decision), _) => Verdict::Decided(decision, claims, cost),
            (Err(_), Failure::Local) => match self.decide_locally(&claims, cost) {
                Some(decision) => Verdict::Decided(decision, claims, cost),
                None => Verdict::Pass,
            },
            (Err(_), Failure::Open) => Verdict::Pass,
            (Err(_), Failure::Closed) => Verdict::Unavailable,
        }
    }

    /// Decides within this process: each quota by GCRA, while places are not counted and shadows not asked.
    fn decide_locally(&self, claims: &[Claim], cost: u64) -> Option<Decision> {
        let (mut budgets, mut limits) = (Vec::new(), Vec::new());
        for (claim, limit) in claims
            .iter()
            .flat_map(|claim| claim.limits().map(move |limit| (claim, limit)))
        {
            let Some((limit, rate)) = limit.locally() else {
                continue;
            };
            let name = Identity::from(limit.policy.name());
            budgets.push(((claim.identity, name), rate));
            limits.push(limit);
        }
        if limits.is_empty() {
            return None;
        }
        let now = self.shared.now();
        let readings = self.shared.local.decide(&budgets, now, cost);
        let charged = readings.iter().all(|(fits, _)| *fits);
        let standings = limits.iter().zip(readings).map(|(limit, (fits, level))| {
            let at = now;
            Standing::new(
                limit,
                Reading::of_gcra(fits, level),
                Request { cost, charged, at },
            )
        });
        Some(Decision::new(charged, standings.collect()))
    }
}
