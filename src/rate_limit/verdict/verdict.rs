//! From a request to what is to be done with it.

use std::time::Duration;

use super::{
    config::{Config, Failure, MissingKey},
    in_flight::InFlightRequest,
    plan::{Plan, Subject},
};
use crate::rate_limit::{
    decision::decision::Decision,
    quota::claim::Claim,
    subject::{
        lookup::Lookup,
        search::{Found, Search},
    },
};

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

/// A decision, and what it is about.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    pub(crate) claims: Vec<Claim>,
    pub(crate) cost: u64,
    /// Held while the permits may come back.
    pub(crate) in_flight_request: Option<InFlightRequest>,
}

/// What to do with a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// A decision, of Redis or of this process.
    Decided(Decided),
    /// Let it pass, uncounted.
    Pass,
    /// It lacks a key.
    NoKey,
    /// There is no telling.
    Unavailable,
}

impl Config {
    pub(crate) async fn decide(&self, plan: Plan) -> Verdict {
        let (subjects, cost) = match plan {
            Plan::Decide { subjects, cost } => (subjects, cost),
            Plan::Pass => return Verdict::Pass,
        };
        let (claims, known) = match self.claims(subjects, cost).await {
            Ok(found) => found,
            Err(Uncounted::Pass) => return Verdict::Pass,
            Err(Uncounted::NoKey) => return Verdict::NoKey,
            Err(Uncounted::Unavailable) => return Verdict::Unavailable,
        };
        // Before it is decided: who is denied meanwhile may be admitted when the permits of this one come back.
        let in_flight = self.in_flight.as_ref();
        let in_flight_request = in_flight.map(|in_flight| in_flight.begin(&claims));
        let decided = match known {
            Some(denial) => Ok(denial),
            None => self.engine.decide(&claims, cost).await,
        };
        self.note_failure(decided.as_ref().err());
        let decision = match (decided, self.failure) {
            (Ok(decision), _) => decision,
            (Err(_), Failure::Local) => {
                match self.shared.local.decide(&claims, cost, self.shared.now()) {
                    Some(decision) => decision,
                    None => return Verdict::Pass,
                }
            }
            (Err(_), Failure::Open) => return Verdict::Pass,
            (Err(_), Failure::Closed) => return Verdict::Unavailable,
        };
        let waits = in_flight_request
            .as_ref()
            .is_some_and(InFlightRequest::has_company);
        Verdict::Decided(Decided {
            decision: if waits {
                decision.within(SOON)
            } else {
                decision
            },
            claims,
            cost,
            in_flight_request,
        })
    }

    /// Whom a request counts against, in the order of the keys; or those who are known before anything is looked up, if a
    /// known denial refuses one of them.
    async fn claims(
        &self,
        subjects: Vec<Subject>,
        cost: u64,
    ) -> Result<(Vec<Claim>, Option<Decision>), Uncounted> {
        let mut claims = Vec::with_capacity(subjects.len());
        // With the number of claims before each.
        let mut searched = Vec::new();
        for subject in subjects {
            match subject.needs_search() {
                true => searched.push((claims.len(), subject)),
                false => claims.extend(self.claim(subject).await?),
            }
        }
        let known = claims.len();
        for (before, subject) in searched {
            if let Some(denial) = self.engine.refuses(&claims, cost) {
                return Ok((claims, Some(denial)));
            }
            let found = claims.len() - known;
            if let Some(claim) = self.claim(subject).await? {
                claims.insert(before + found, claim);
            }
        }
        match claims.is_empty() {
            true => Err(Uncounted::Pass),
            false => Ok((claims, None)),
        }
    }

    /// Whom a request counts against by one of the keys, or what to do without.
    async fn claim(&self, subject: Subject) -> Result<Option<Claim>, Uncounted> {
        let found = match subject.who {
            Lookup::Known(found) => found,
            Lookup::Search(search) => match self.search(search).await? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        let identity = match found {
            Found::Identity(identity) => identity,
            Found::Missing(shared) => {
                let needs = subject.needs.as_deref().unwrap_or_default();
                self.note_missing_key(needs, subject.missing_key);
                match subject.missing_key {
                    MissingKey::Share => shared,
                    MissingKey::Allow => return Ok(None),
                    MissingKey::Deny => return Err(Uncounted::NoKey),
                }
            }
        };
        let chosen = match subject.choice {
            Some(choice) => choice.made(identity).await,
            None => None,
        };
        if let Some(chosen) = &chosen {
            self.engine.names.of_tier(chosen, &self.policies);
        }
        let policies = chosen.map_or(subject.policies, |chosen| self.enforced(chosen));
        let unnamed = self.unnamed.clone().filter(|_| subject.is_own);
        Ok(Some(Claim {
            identity,
            policies,
            unnamed,
        }))
    }

    async fn search(&self, search: Search) -> Result<Option<Found>, Uncounted> {
        let found = search.found().await;
        self.note_search(found.as_ref().err());
        match (found, self.failure) {
            (Ok(found), _) => Ok(Some(found)),
            (Err(_), Failure::Closed) => Err(Uncounted::Unavailable),
            // Without a name there is no budget in this process either. One for all would let some shut out the others.
            (Err(_), Failure::Open | Failure::Local) => Ok(None),
        }
    }
}

/// The longest that a denial says to wait while permits that its subject waits for may come back.
const SOON: Duration = Duration::from_secs(1);
