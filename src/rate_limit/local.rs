//! The same limit within this process, for when Redis fails.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
};

use super::{
    gcra::{Outcome, PaidAt, Rate},
    identity::Identity,
};

/// The debts of a bounded number of subjects.
///
/// They live in two halves. When the young half is full it becomes the old one, and what was in that is forgotten:
/// subjects that asked for nothing while many others did.
#[derive(Debug)]
pub(super) struct Local {
    halves: Mutex<Halves>,
    half: usize,
}

#[derive(Debug, Default)]
struct Halves {
    young: HashMap<Identity, PaidAt>,
    old: HashMap<Identity, PaidAt>,
}

impl Local {
    /// Room for `subjects` at most.
    pub(super) fn new(subjects: usize) -> Self {
        Self {
            halves: Mutex::default(),
            half: (subjects / 2).max(1),
        }
    }

    /// Decides at `now`, in microseconds of any clock that does not run backwards.
    pub(super) fn decide(&self, rate: &Rate, identity: Identity, now: u64, cost: u32) -> Outcome {
        // A panic elsewhere cannot leave a debt half written.
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        let known = halves.young.get(&identity).copied();
        let stored = known.or_else(|| halves.old.get(&identity).copied());
        let (outcome, paid_at) = rate.decide(stored, now, cost);
        // A denied subject is kept too, as long as it keeps asking.
        if let Some(paid_at) = paid_at.or(stored) {
            if known.is_none() && halves.young.len() >= self.half {
                halves.old = mem::take(&mut halves.young);
            }
            halves.young.insert(identity, paid_at);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::Quota;

    fn admits(local: &Local, subject: u64, now: u64) -> bool {
        let rate = Quota::per_second(2).rate();
        local.decide(&rate, subject.into(), now, 1).admitted
    }

    #[test]
    fn each_subject_has_its_quota() {
        let local = Local::new(10);
        for subject in 1..3 {
            let admitted = (0..5).filter(|_| admits(&local, subject, 7)).count();
            assert_eq!(admitted, 2);
        }
        assert!(admits(&local, 1, 500_007));
        assert!(!admits(&local, 1, 500_007));
    }

    #[test]
    fn a_flood_of_subjects_forgets_the_idle_and_keeps_the_busy() {
        let local = Local::new(100);
        assert!(admits(&local, 0, 0) && admits(&local, 0, 0));
        assert!(admits(&local, 1, 0) && admits(&local, 1, 0));
        for subject in 2..10_000 {
            assert!(admits(&local, subject, 0));
            assert!(!admits(&local, 0, 0), "forgotten at {subject}");
            let halves = local.halves.lock().expect("halves");
            assert!(halves.young.len() + halves.old.len() <= 100);
        }
        assert!(admits(&local, 1, 0), "it asked for nothing for long");
    }
}
