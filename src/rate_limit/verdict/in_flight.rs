//! Requests that may still give their permits back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::rate_limit::{quota::claim::Claim, subject::identity::Identity};

/// How many requests of each subject this process decides on or serves whose permits may come back.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    requests: Mutex<HashMap<Identity, usize>>,
}

/// A request that is under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlightRequest {
    in_flight: Arc<InFlight>,
    subjects: Box<[Identity]>,
}

impl InFlight {
    pub(crate) fn begin(self: &Arc<Self>, claims: &[Claim]) -> InFlightRequest {
        let subjects: Box<[Identity]> = claims.iter().map(|claim| claim.identity).collect();
        let mut requests = self.lock();
        for subject in &subjects {
            *requests.entry(*subject).or_default() += 1;
        }
        drop(requests);
        InFlightRequest {
            in_flight: Arc::clone(self),
            subjects,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identity, usize>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlightRequest {
    /// Whether another request of one of the subjects is under way.
    pub(crate) fn has_company(&self) -> bool {
        let requests = self.in_flight.lock();
        // Two keys may give one subject.
        let own = |subject: &Identity| self.subjects.iter().filter(|one| *one == subject).count();
        let mut subjects = self.subjects.iter();
        subjects.any(|subject| requests.get(subject).is_some_and(|all| *all > own(subject)))
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        let mut requests = self.in_flight.lock();
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
