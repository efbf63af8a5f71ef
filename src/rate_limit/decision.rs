//! What was decided about a request.

use std::{sync::Arc, time::Duration};

use super::{gcra::Outcome, gcra::Rate, quota::Quota};

/// Whether a request may pass, and where that leaves its subject.
///
/// The layer puts it into the extensions of the response, and of the request when that is admitted. These are all the
/// variants there will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may pass, and was counted.
    Allow(Standing),
    /// It may not. It was not counted, so asking again costs nothing.
    Deny(Denial),
}

impl Decision {
    /// What `outcome` means under `quota`, which is `rate` in ticks.
    pub(super) fn new(
        policy: &Arc<str>,
        quota: Quota,
        rate: &Rate,
        outcome: Outcome,
        cost: u32,
    ) -> Self {
        let standing = Standing::new(policy, quota, rate, outcome.debt);
        if outcome.admitted {
            return Self::Allow(standing);
        }
        let retry_after = rate.wait(outcome.debt, cost).map(Duration::from_micros);
        Self::Deny(Denial {
            standing,
            retry_after,
        })
    }

    /// True when the request may pass.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// Where the subject stands after this decision.
    pub fn standing(&self) -> &Standing {
        match self {
            Self::Allow(standing) => standing,
            Self::Deny(denial) => &denial.standing,
        }
    }

    /// How many permits the subject has left.
    pub fn remaining(&self) -> u32 {
        self.standing().remaining
    }

    /// As [`Denial::retry_after`]; nothing for a request that may pass.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Allow(_) => None,
            Self::Deny(denial) => denial.retry_after,
        }
    }
}

/// Where a subject stands with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    policy: Arc<str>,
    quota: Quota,
    remaining: u32,
    effective_window: Duration,
    resets_after: Duration,
}

impl Standing {
    fn new(policy: &Arc<str>, quota: Quota, rate: &Rate, debt: u64) -> Self {
        let remaining = rate.remaining(debt);
        let effective_window = match remaining {
            0 => rate.wait(debt, 1).unwrap_or_default(),
            _ => rate.time_of(remaining),
        };
        Self {
            policy: Arc::clone(policy),
            quota,
            remaining,
            effective_window: Duration::from_micros(effective_window),
            resets_after: Duration::from_micros(rate.payback(debt)),
        }
    }

    /// The name of the policy.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// The quota of the policy.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// The most that [`remaining`](Self::remaining) can be: the burst.
    pub fn limit(&self) -> u32 {
        self.quota.max_burst()
    }

    /// How many permits are left to use at once.
    pub fn remaining(&self) -> u32 {
        self.remaining
    }

    /// The time in which no more than [`remaining`](Self::remaining) should be used: what these permits take to come
    /// back, or if there is none, the time until there is one.
    pub fn effective_window(&self) -> Duration {
        self.effective_window
    }

    /// The time until the whole burst is there again, if nothing more is used.
    pub fn resets_after(&self) -> Duration {
        self.resets_after
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    standing: Standing,
    retry_after: Option<Duration>,
}

impl Denial {
    /// Where the subject stands.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// After exactly this time the same request would be admitted, if no other is before it; a microsecond earlier it
    /// would not. `None` when it never would, because it costs more than a full burst.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}
