//! From a request to what is to be done with it.

use std::sync::Arc;

use http::request::Parts;

use super::{
    call::Claim,
    config::{Config, Failure, MissingKey},
    decision::Decision,
    identity::Identity,
    key::Key,
    policies::Policies,
    search::{Found, Search},
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
    who: Who,
    policies: Policies,
    /// Other policies than those.
    choice: Option<Choice>,
    missing_key: MissingKey,
    /// For the log: what a request without it lacks.
    needs: Option<Arc<str>>,
}

/// Whom a request counts against by a key.
#[derive(Debug)]
enum Who {
    Known(Found),
    /// Not known before this has ended.
    Searched(Search),
}

/// Why a request is not counted by a key.
#[derive(Debug)]
enum Uncounted {
    /// That is as it should be, or cannot be helped.
    Pass,
    /// The key is missing, and must not be.
    NoKey,
    /// Nobody knows whom it counts against, and so it must not pass.
    Unavailable,
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

impl Who {
    fn of(key: &dyn Key, request: &Parts) -> Self {
        if let Some(search) = key.search(request) {
            return Self::Searched(search);
        }
        Self::Known(match key.identity(request) {
            Some(identity) => Found::Identity(identity),
            None => Found::Missing(key.stand_in(request)),
        })
    }
}

impl Config {
    /// Asks all that the application says about a request.
    pub(super) fn plan(&self, key: &dyn Key, request: &Parts) -> Plan {
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
                let who = Who::of(key, request);
                let known = match who {
                    Who::Known(Found::Identity(identity)) => Some(identity),
                    Who::Known(Found::Missing(_)) | Who::Searched(_) => None,
                };
                Subject {
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

    pub(super) async fn decide(&self, plan: Plan) -> Verdict {
        let (subjects, cost) = match plan {
            Plan::Decide { subjects, cost } => (subjects, cost),
            Plan::Pass => return Verdict::Pass,
        };
        let mut claims = Vec::with_capacity(subjects.len());
        for subject in subjects {
            match self.claim(subject).await {
                Ok(claim) => claims.push(claim),
                Err(Uncounted::Pass) => {}
                Err(Uncounted::NoKey) => return Verdict::NoKey,
                Err(Uncounted::Unavailable) => return Verdict::Unavailable,
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
    async fn claim(&self, subject: Subject) -> Result<Claim, Uncounted> {
        let found = match subject.who {
            Who::Known(found) => found,
            Who::Searched(search) => self.search(search).await?,
        };
        let identity = match found {
            Found::Identity(identity) => identity,
            Found::Missing(shared) => {
                let needs = subject.needs.as_deref().unwrap_or_default();
                self.note_missing_key(needs, subject.missing_key);
                match subject.missing_key {
                    MissingKey::Share => shared,
                    MissingKey::Allow => return Err(Uncounted::Pass),
                    MissingKey::Deny => return Err(Uncounted::NoKey),
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

    async fn search(&self, search: Search) -> Result<Found, Uncounted> {
        let found = search.found().await;
        self.note_search(found.as_ref().err());
        found.map_err(|_| match self.failure {
            Failure::Closed => Uncounted::Unavailable,
            // Without a name there is no budget in this process either. One for all would let some shut out the others.
            Failure::Open | Failure::Local => Uncounted::Pass,
        })
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
