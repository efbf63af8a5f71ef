//! The same limits within this process, for when Redis fails.

use std::sync::{Mutex, PoisonError};

use super::bounded_map::BoundedMap;
use crate::rate_limit::{
    decision::{
        decision::Decision,
        standing::{Reading, Request, Standing},
    },
    quota::{
        claim::Claim,
        gcra::{PaidAt, Rate},
    },
    subject::identity::Identity,
};

/// The debts of a bounded number of subjects.
#[derive(Debug)]
pub(crate) struct LocalLimiter {
    debts: Mutex<BoundedMap<Budget, PaidAt>>,
}

/// A subject and one of its policies, by digest.
type Budget = (Identity, Identity);

impl LocalLimiter {
    /// Room for `budgets` at most.
    pub(crate) fn new(budgets: usize) -> Self {
        Self {
            debts: Mutex::new(BoundedMap::new(budgets)),
        }
    }

    /// Decides within this process: each quota by GCRA, while places are not counted and shadows not asked.
    pub(crate) fn decide(&self, claims: &[Claim], cost: u64, now: u64) -> Option<Decision> {
        let (mut budgets, mut limits) = (Vec::new(), Vec::new());
        for (claim, limit) in claims
            .iter()
            .flat_map(|claim| claim.limits().map(move |limit| (claim, limit)))
        {
            let own = limit.digest;
            let Some((limit, rate)) = limit.locally() else {
                continue;
            };
            budgets.push(((claim.identity, own), rate));
            limits.push(limit);
        }
        if limits.is_empty() {
            return None;
        }
        let readings = self.spend(&budgets, now, cost);
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
        Some(Decision::new(admitted, standings.collect::<Vec<_>>()))
    }
    /// Decides at `now`, in microseconds of any clock that does not run backwards: counted under all the policies or none.
    /// Gives whether each admits, and its debt.
    fn spend(&self, budgets: &[(Budget, Rate)], now: u64, cost: u64) -> Vec<(bool, u64)> {
        // A panic elsewhere cannot leave a debt half written.
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        let decide = |(budget, rate): &(Budget, Rate), cost| {
            let stored = debts.get(budget).copied();
            let (outcome, paid_at) = rate.decide(stored, now, cost);
            (outcome, paid_at.or(stored))
        };
        let mut after: Vec<_> = budgets.iter().map(|one| decide(one, cost)).collect();
        let fits: Vec<bool> = after.iter().map(|(outcome, _)| outcome.admitted).collect();
        if !fits.iter().all(|fits| *fits) {
            after = budgets.iter().map(|one| decide(one, 0)).collect();
        }
        // A denied subject is kept too, as long as it keeps asking.
        for ((budget, _), (_, paid_at)) in budgets.iter().zip(&after) {
            if let Some(paid_at) = paid_at {
                debts.insert(*budget, *paid_at);
            }
        }
        let debts = after.iter().map(|(outcome, _)| outcome.debt);
        fits.into_iter().zip(debts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::Quota;

    fn admits(local: &LocalLimiter, subject: u64, now: u64) -> bool {
        let rate = Quota::per_second(2).rate();
        let budget = (subject.into(), Identity::nobody());
        local.spend(&[(budget, rate)], now, 1)[0].0
    }

    #[test]
    fn each_subject_has_its_quota() {
        let local = LocalLimiter::new(10);
        for subject in 1..3 {
            let admitted = (0..5).filter(|_| admits(&local, subject, 7)).count();
            assert_eq!(admitted, 2);
        }
        assert!(admits(&local, 1, 500_007));
        assert!(!admits(&local, 1, 500_007));
    }

    #[test]
    fn all_policies_count_a_request_or_none_does() {
        let local = LocalLimiter::new(10);
        let budget = |name: &str, quota: Quota| ((Identity::from("a"), name.into()), quota.rate());
        let budgets = [
            budget("small", Quota::per_day(2)),
            budget("large", Quota::per_day(5)),
        ];
        let fits = |cost| {
            local
                .spend(&budgets, 7, cost)
                .iter()
                .map(|(fits, _)| *fits)
                .collect::<Vec<_>>()
        };
        assert_eq!(fits(2), [true, true]);
        for _ in 0..9 {
            assert_eq!(fits(1), [false, true]);
        }
        assert!(local.spend(&budgets[1..], 7, 3)[0].0);
    }

    #[test]
    fn a_flood_of_subjects_forgets_the_idle_and_keeps_the_busy() {
        let local = LocalLimiter::new(100);
        assert!(admits(&local, 0, 0) && admits(&local, 0, 0));
        assert!(admits(&local, 1, 0) && admits(&local, 1, 0));
        for subject in 2..10_000 {
            assert!(admits(&local, subject, 0));
            assert!(!admits(&local, 0, 0), "forgotten at {subject}");
            assert!(local.debts.lock().expect("debts").values().count() <= 100);
        }
        assert!(admits(&local, 1, 0), "it asked for nothing for long");
    }
}
