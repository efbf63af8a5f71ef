//! Denials that this process remembers, so that a flood does not reach Redis.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
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
/// minute it is asked again, and after a second once permits came back in this process, as others do the same then.
///
/// A denial is not remembered if permits of its subject came back while it was asked for: it may be older than they are.
#[derive(Debug)]
pub(super) struct Denials {
    known: Mutex<Recent<(Identity, u64), Known>>,
    /// How often permits came back, by a part of the subject's digest: subjects that share a counter only ask again.
    returns: [AtomicU64; COUNTERS],
    /// How often they came back to anybody.
    any_returns: AtomicU64,
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
            returns: [const { AtomicU64::new(0) }; COUNTERS],
            any_returns: AtomicU64::new(0),
        }
    }

    /// How often permits of these subjects came back so far, for [`note`](Self::note).
    pub(super) fn returns(&self, claims: &[Claim]) -> u64 {
        let count = |claim: &Claim| self.counter(claim).load(Ordering::SeqCst);
        claims.iter().map(count).fold(0, u64::wrapping_add)
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

    /// Remembers what Redis said of a request that was sent at `sent`, when permits had come back `returns` times.
    pub(super) fn note(
        &self,
        claims: &[Claim],
        cost: u64,
        (sent, returns): (Instant, u64),
        decision: &Decision,
    ) {
        if decision.is_allowed() {
            return;
        }
        let longest = match self.any_returns.load(Ordering::Relaxed) {
            0 => LONGEST,
            _ => LONGEST_WITH_RETURNS,
        };
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
            let lasts = lasts.min(longest);
            let known = Known {
                denial,
                cost,
                since: sent,
                lasts,
            };
            // Under the lock: `forget` counts first, and then takes out what was noted before.
            let mut all = self.lock();
            if self.returns(claims) == returns {
                all.insert(claim.place(), known);
            }
        }
    }

    /// Forgets what was said about a claim: permits of it came back.
    pub(super) fn forget(&self, claim: &Claim) {
        self.any_returns.fetch_add(1, Ordering::Relaxed);
        self.counter(claim).fetch_add(1, Ordering::SeqCst);
        self.lock().remove(&claim.place());
    }

    fn counter(&self, claim: &Claim) -> &AtomicU64 {
        &self.returns[usize::from(claim.identity.first_byte()) % COUNTERS]
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recent<(Identity, u64), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a denial is repeated without asking.
const LONGEST: Duration = Duration::from_secs(60);

/// The same where permits come back.
const LONGEST_WITH_RETURNS: Duration = Duration::from_secs(1);

const COUNTERS: usize = 256;
