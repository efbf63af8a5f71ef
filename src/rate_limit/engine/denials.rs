//! Denials that this process remembers, so that a flood does not reach Redis.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{bounded_map::BoundedMap, refunds::Refunds};
use crate::rate_limit::{
    decision::{
        decision::{Decision, Denial},
        standing::Standing,
    },
    quota::claim::Claim,
    subject::identity::Identity,
};

/// A bounded number of denials.
///
/// A denial holds until its time is over, for the same cost and greater ones, under the same policies with the same
/// numbers. That is what Redis would say too, unless permits of the subject come back first, or its data is lost. Permits
/// that come back in this process end it, also those that came back while it was asked for: it may be older than they are.
/// For what other processes do Redis is asked again after a minute, and after a second where permits come back at all.
#[derive(Debug)]
pub(crate) struct Denials {
    known: Mutex<BoundedMap<(Identity, u64), Known>>,
    refunds: Arc<Refunds>,
}

/// When a request was sent, and how many refunds had been counted before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    at: Instant,
    refunds: u64,
}

#[derive(Clone, Debug)]
struct Known {
    denial: Denial,
    cost: u64,
    asked: Asked,
    lasts: Duration,
}

impl Denials {
    pub(crate) fn new(denials: usize, refunds: Arc<Refunds>) -> Self {
        Self {
            known: Mutex::new(BoundedMap::new(denials)),
            refunds,
        }
    }

    /// Now, for [`note`](Self::note): before Redis is asked.
    pub(crate) fn asked(&self) -> Asked {
        Asked {
            at: Instant::now(),
            refunds: self.refunds.count(),
        }
    }

    /// What was said about one of the claims and still holds.
    pub(crate) fn find(&self, claims: &[Claim], cost: u64) -> Option<Decision> {
        let now = Instant::now();
        let longest = match self.refunds.are_expected() {
            true => LONGEST_WITH_REFUNDS,
            false => LONGEST,
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        claims.iter().find_map(|claim| {
            let known = known.get(&claim.map_key())?;
            let age = now.saturating_duration_since(known.asked.at);
            let is_over = age >= known.lasts.min(longest)
                || self
                    .refunds
                    .happened_since(claim.identity, known.asked.refunds);
            let holds = cost >= known.cost && !is_over;
            holds.then(|| Decision::Deny(known.denial.aged(age)))
        })
    }

    /// Remembers what Redis said.
    pub(crate) fn note(&self, claims: &[Claim], cost: u64, asked: Asked, decision: &Decision) {
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
            let known = Known {
                denial,
                cost,
                asked,
                lasts,
            };
            let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(claim.map_key(), known);
        }
    }
}

/// How long a denial is repeated without asking.
const LONGEST: Duration = Duration::from_secs(60);

/// The same where refunds are expected: this process does not see the refunds of other processes.
const LONGEST_WITH_REFUNDS: Duration = Duration::from_secs(1);
