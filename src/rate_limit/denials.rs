//! Denials that this process remembers, so that a flood does not reach Redis.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    call::Claim,
    decision::{Decision, Denial},
    identity::Identity,
    recent::Recent,
    standing::Standing,
};

/// A bounded number of denials.
///
/// A denial holds until its time is over, for the same cost and greater ones, under the same policies with the same
/// numbers. That is what Redis would say too, unless a refund or a reset comes first, or its data is lost: so after a
/// minute it is asked again.
#[derive(Debug)]
pub(super) struct Denials {
    known: Mutex<Recent<(Identity, u64), Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    denial: Denial,
    cost: u64,
    since: Instant,
    lasts: Duration,
}

impl Denials {
    pub(super) fn new(denials: usize) -> Self {
        Self {
            known: Mutex::new(Recent::new(denials)),
        }
    }

    /// What was said about one of the claims and still holds.
    pub(super) fn find(&self, claims: &[Claim], cost: u64) -> Option<Decision> {
        let now = Instant::now();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        claims.iter().find_map(|claim| {
            let known = known.get(&claim.place())?;
            let age = now.saturating_duration_since(known.since);
            let holds = cost >= known.cost && age < known.lasts;
            holds.then(|| Decision::Deny(known.denial.aged(age)))
        })
    }

    /// Remembers what Redis said of a request that was sent at `sent`.
    pub(super) fn note(&self, claims: &[Claim], cost: u64, sent: Instant, decision: &Decision) {
        if decision.is_allowed() {
            return;
        }
        let mut standings = decision.standings();
        for claim in claims {
            let (own, rest) = standings.split_at(claim.policies.len().min(standings.len()));
            standings = rest;
            // Only what this subject waits for, and nothing about others.
            let Decision::Deny(denial) = Decision::new(false, own.to_vec()) else {
                continue;
            };
            // A permanent one needs no script to be known, and an unknown time may be over at once.
            let waits = denial.violated().filter_map(Standing::wait);
            let Some(lasts) = waits.max() else { continue };
            let lasts = lasts.min(LONGEST);
            let known = Known {
                denial,
                cost,
                since: sent,
                lasts,
            };
            self.lock().insert(claim.place(), known);
        }
    }

    /// Forgets what was said about a claim.
    pub(super) fn forget(&self, claim: &Claim) {
        self.lock().remove(&claim.place());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recent<(Identity, u64), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a denial is repeated without asking.
const LONGEST: Duration = Duration::from_secs(60);
