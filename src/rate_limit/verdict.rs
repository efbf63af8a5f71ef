//! From a request to what is to be done with it.

use std::sync::Arc;

use http::request::Parts;

use super::{
    call::Claim,
    config::{Config, Failure, MissingKey},
    decision::Decision,
    identity::Identity,
    key::{Key, Search},
    policies::Policies,
    standing::{Reading, Request, Standing},
    tiers::{Choice, Tiers},
};

/// What a request asks for, as far as its head tells.
#[derive(Debug)]
pub(super) enum Plan {
    Decide {
        subjects: Vec<Subject>,
        cost: u64,
    },
    /// Let it pass, uncounted.
    Pass,
}

/// What a key says about a request, and the policies for that.
#[derive(Debug)]
pub(super) struct Subject {
    identity: Option<Identity>,
    /// Where there is one, it says who it is.
    search: Option<Search>,
    policies: Policies,
    /// Other policies than those.
    choice: Option<Choice>,
    /// For the log: what a request without it lacks.
    needs: Option<Arc<str>>,
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

impl Subject {
    /// Whether who it is, or what it is held to, has to be looked up.
    fn needs_search(&self) -> bool {
        self.search.is_some() || matches!(self.choice, Some(Choice::Open(..)))
    }
}

impl Config {
    /// Asks all that the application says about a request.
    pub(super) fn plan(&self, key: &dyn Key, request: &Parts) -> Plan {
        if self.skip.as_ref().is_some_and(|skip| skip(request)) {
            return Plan::Pass;
        }
        let own = (key, &self.policies, self.tiers.as_ref());
        let others = self
            .rules
            .iter()
            .map(|rule| (&*rule.key, &rule.policies, None));
        let subject = |(key, policies, tiers): (&dyn Key, &Policies, Option<&Tiers>)| {
            let search = key.search(request);
            let identity = match search {
                Some(_) => None,
                None => key.identity(request),
            };
            Subject {
                needs: identity.is_none().then(|| key.needs().into()),
                choice: tiers.map(|tiers| tiers.choose(request, identity)),
                identity,
                search,
                policies: policies.clone(),
            }
        };
        Plan::Decide {
            subjects: [own].into_iter().chain(others).map(subject).collect(),
            cost: self.cost.of(request),
        }
    }

    pub(super) async fn decide(&self, plan: Plan) -> Verdict {
        let (subjects, cost) = match plan {
            Plan::Decide { subjects, cost } => (subjects, cost),
            Plan::Pass => return Verdict::Pass,
        };
        // Those that need no search come first: where a known denial refuses them, nothing is searched for.
        let mut order: Vec<(usize, Subject)> = subjects.into_iter().enumerate().collect();
        order.sort_by_key(|(at, subject)| (subject.needs_search(), *at));
        let mut found = Vec::with_capacity(order.len());
        let mut claims = Vec::with_capacity(order.len());
        for (at, subject) in order {
            if subject.needs_search() {
                if let Some(known) = self.engine.refuses(&claims, cost) {
                    return Verdict::Decided(known, claims, cost);
                }
            }
            match self.claim(subject).await {
                Ok(claim) => {
                    let place = found.partition_point(|other| *other < at);
                    found.insert(place, at);
                    claims.insert(place, claim);
                }
                Err(MissingKey::Deny) => return Verdict::NoKey,
                Err(_) => {}
            }
        }
        if claims.is_empty() {
            return Verdict::Pass;
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

    /// Whom a request counts against by one of the keys, or what to do without.
    async fn claim(&self, subject: Subject) -> Result<Claim, MissingKey> {
        let identity = match subject.search {
            Some(search) => search.found().await,
            None => subject.identity,
        };
        let identity = match (identity, self.missing_key) {
            (Some(identity), _) => identity,
            (None, missing) => {
                self.note_missing_key(subject.needs.as_deref().unwrap_or_default());
                match missing {
                    MissingKey::Share => Identity::nobody(),
                    other => return Err(other),
                }
            }
        };
        let chosen = match subject.choice {
            Some(choice) => choice.made(identity).await,
            None => None,
        };
        let policies = chosen.map_or(subject.policies, |chosen| self.enforced(chosen));
        Ok(Claim { identity, policies })
    }

    /// Decides within this process: each quota by GCRA, while places are not counted and shadows not asked.
    fn decide_locally(&self, claims: &[Claim], cost: u64) -> Option<Decision> {
        let (mut budgets, mut limits) = (Vec::new(), Vec::new());
        for (claim, limit) in claims
            .iter()
            .flat_map(|claim| claim.limits().map(move |limit| (claim, limit)))
        {
            let budget = limit.local_budget();
            let Some((limit, rate)) = limit.locally() else {
                continue;
            };
            budgets.push(((claim.identity, budget), rate));
            limits.push(limit);
        }
        if limits.is_empty() {
            return None;
        }
        let now = self.shared.now();
        let readings = self.shared.local.decide(&budgets, now, cost);
        let admitted = readings.iter().all(|(fits, _)| *fits);
        let standings = limits.iter().zip(readings).map(|(limit, (fits, level))| {
            let request = Request {
                cost,
                // Not in Redis: there is nothing to give back.
                charged: false,
                at: now,
            };
            Standing::new(limit, Reading::of_gcra(fits, level), request)
        });
        Some(Decision::new(admitted, standings.collect()))
    }
}
