//! Requests that may still give their permits back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::rate_limit::{quota::claim::Claim, subject::identity::Identity};

/// How many requests of each subject this process decides on or serves whose permits may come back.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    requests: Mutex<HashMap<Identity, usize>>,
}

/// A request that is under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    under_way: Arc<UnderWay>,
    subjects: Box<[Identity]>,
}

impl UnderWay {
    pub(crate) fn begin(self: &Arc<Self>, claims: &[Claim]) -> Serving {
        let subjects: Box<[Identity]> = claims.iter().map(|claim| claim.identity).collect();
        let mut requests = self.lock();
        for subject in &subjects {
            *requests.entry(*subject).or_default() += 1;
        }
        drop(requests);
        Serving {
            under_way: Arc::clone(self),
            subjects,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identity, usize>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Serving {
    /// Whether another request of one of the subjects is under way.
    pub(crate) fn has_company(&self) -> bool {
        let requests = self.under_way.lock();
        // Two keys may give one subject.
        let own = |subject: &Identity| self.subjects.iter().filter(|one| *one == subject).count();
        let mut subjects = self.subjects.iter();
        subjects.any(|subject| requests.get(subject).is_some_and(|all| *all > own(subject)))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut requests = self.under_way.lock();
        for subject in &self.subjects {
            if let Some(count) = requests.get_mut(subject) {
                *count -= 1;
                if *count == 0 {
                    requests.remove(subject);
                }
            }
        }
    }
}
