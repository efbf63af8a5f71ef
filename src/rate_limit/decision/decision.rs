//! The decision about a request.

use std::{fmt, mem, sync::Arc, time::Duration};

use super::{
    places::Place,
    standing::{Standing, Wait},
};

/// Whether a request may pass, and what its subject has left.
///
/// The layer puts it into the extensions of the response, and of the request when that is admitted. The decision of a
/// [limiter](crate::rate_limit::RateLimiter) also holds the request's place under a
/// [concurrency](crate::rate_limit::Policy::concurrency) policy: the place is free again when the decision and all its
/// clones are dropped. No variants will be added.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It may pass, and was counted.
    Allow(Admission),
    /// It may not pass. It was not counted, so asking again costs nothing.
    Deny(Denial),
}

impl Decision {
    /// The decision that follows from `standings`, of which there is at least one.
    pub(crate) fn new(admitted: bool, standings: impl Into<Arc<[Standing]>>) -> Self {
        let standings: Arc<[Standing]> = standings.into();
        if admitted {
            return Self::Allow(Admission {
                tightest: tightest(&standings),
                standings,
                places: Vec::new(),
            });
        }
        let worst = worst(&standings);
        Self::Deny(Denial { standings, worst })
    }

    /// True when the request may pass.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// The standing with the most restrictive policy: for a denial, the policy with the longest wait; else the policy
    /// with the smallest part of its limit left.
    pub fn standing(&self) -> &Standing {
        match self {
            Self::Allow(admission) => admission.standing(),
            Self::Deny(denial) => denial.standing(),
        }
    }

    /// The standing with each policy, in the order of the policies.
    pub fn standings(&self) -> &[Standing] {
        match self {
            Self::Allow(admission) => &admission.standings,
            Self::Deny(denial) => &denial.standings,
        }
    }

    /// How many permits the subject has left under the most restrictive policy.
    pub fn remaining(&self) -> u32 {
        self.standing().remaining
    }

    /// As [`Denial::retry_after`]; `None` for a request that may pass.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Allow(_) => None,
            Self::Deny(denial) => denial.retry_after(),
        }
    }

    /// The same decision; a known wait of a denial is at most `wait`.
    pub(crate) fn within(self, wait: Duration) -> Self {
        match self {
            Self::Allow(_) => self,
            Self::Deny(denial) => Self::Deny(denial.within(wait)),
        }
    }

    /// The same decision; an admission keeps these places of the request.
    pub(crate) fn holding(mut self, places: Vec<Place>) -> Self {
        if let Self::Allow(admission) = &mut self {
            admission.places = places;
        }
        self
    }

    /// Takes the places out of an admission.
    pub(crate) fn take_places(&mut self) -> Vec<Place> {
        match self {
            Self::Allow(admission) => mem::take(&mut admission.places),
            Self::Deny(_) => Vec::new(),
        }
    }

    /// The same decision for a subject for which this process holds `permits` more.
    pub(crate) fn with_more(&self, permits: u64) -> Self {
        let more = |standing: &Standing| standing.with_more(permits);
        Self::new(
            self.is_allowed(),
            self.standings().iter().map(more).collect::<Vec<_>>(),
        )
    }
}

/// A request that may pass.
#[derive(Clone)]
pub struct Admission {
    standings: Arc<[Standing]>,
    tightest: usize,
    /// Given back when the last clone is dropped.
    places: Vec<Place>,
}

impl Admission {
    /// The standing with the most restrictive policy.
    pub fn standing(&self) -> &Standing {
        &self.standings[self.tightest]
    }

    /// How many permits the subject has left under the most restrictive policy.
    pub fn remaining(&self) -> u32 {
        self.standing().remaining
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("standings", &self.standings)
            .field("places", &self.places.len())
            .finish()
    }
}

/// A request that may not pass.
#[derive(Clone, Debug)]
pub struct Denial {
    standings: Arc<[Standing]>,
    worst: usize,
}

impl Denial {
    /// The standing with the policy that makes the request wait longest.
    pub fn standing(&self) -> &Standing {
        &self.standings[self.worst]
    }

    /// The standings with the policies that deny the request, in the order of the policies.
    pub fn violated(&self) -> impl Iterator<Item = &Standing> {
        let standings = self.standings.iter();
        standings.filter(|standing| standing.exceeded && !standing.is_shadow())
    }

    /// The exact time after which the same request is admitted, if its subject uses no permits until then. A
    /// microsecond earlier it is denied.
    ///
    /// `None` when there is no such time: the request [is never admitted](Self::is_permanent), or it needs a place,
    /// which becomes free when another request ends.
    pub fn retry_after(&self) -> Option<Duration> {
        let waits = self.violated().map(|standing| standing.wait.time());
        waits.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// True when the request is never admitted, because it costs more than a limit. The layer answers with
    /// [400](crate::RateLimitLayer::permanent_denial_status) then.
    pub fn is_permanent(&self) -> bool {
        self.violated().any(|standing| standing.wait == Wait::Never)
    }

    fn within(&self, wait: Duration) -> Self {
        let within = self.standings.iter().map(|standing| standing.within(wait));
        Self {
            standings: within.collect(),
            worst: self.worst,
        }
    }

    /// The same denial, with all times reduced by `by`.
    pub(crate) fn aged(&self, by: Duration) -> Self {
        let aged = self.standings.iter().map(|standing| standing.aged(by));
        Self {
            standings: aged.collect(),
            worst: self.worst,
        }
    }
}

/// The index of the policy with the smallest part of its limit left; a shadow policy only if there are no others.
fn tightest(standings: &[Standing]) -> usize {
    let left = |standing: &Standing| f64::from(standing.remaining) / f64::from(standing.limit());
    let mut best = 0;
    for (at, standing) in standings.iter().enumerate() {
        let order = (standings[best].is_shadow(), left(&standings[best]));
        if (standing.is_shadow(), left(standing)) < order {
            best = at;
        }
    }
    best
}

/// The index of the policy that denies for longest. The longest is for ever, then an unknown time.
fn worst(standings: &[Standing]) -> usize {
    let order = |standing: &Standing| match standing.wait {
        _ if !standing.exceeded || standing.is_shadow() => (0, Duration::ZERO),
        Wait::After(time) => (1, time),
        Wait::Unknown => (2, Duration::ZERO),
        Wait::Never => (3, Duration::ZERO),
    };
    let mut best = 0;
    for (at, standing) in standings.iter().enumerate() {
        if order(standing) > order(&standings[best]) {
            best = at;
        }
    }
    best
}
