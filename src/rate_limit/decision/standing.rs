//! The standing of a subject with one policy.

use std::{fmt, sync::Arc, time::Duration};

use crate::rate_limit::quota::{items::PolicyItems, policies::Limit, policy::Policy, quota::Quota};

/// What a subject has left under one policy, and when permits come back.
#[derive(Clone)]
pub struct Standing {
    limit: Arc<Limit>,
    pub(crate) remaining: u32,
    effective_window: Option<Duration>,
    resets_after: Duration,
    pub(crate) exceeded: bool,
    pub(crate) wait: Wait,
    /// Whether permits were used.
    charged: bool,
    /// The time of the decision, in microseconds since 1970: by Redis's clock if Redis decided.
    at: u64,
}

/// How a request was decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) cost: u64,
    /// Whether permits were used.
    pub(crate) charged: bool,
    /// When, in microseconds since 1970.
    pub(crate) at: u64,
}

/// The time until a request that does not fit now will fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    After(Duration),
    Unknown,
    Never,
}

impl Wait {
    pub(crate) fn time(self) -> Option<Duration> {
        match self {
            Self::After(time) => Some(time),
            Self::Unknown | Self::Never => None,
        }
    }
}

/// The result of a policy's algorithm. Times are in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Whether the request fits.
    pub(crate) fits: bool,
    /// In the algorithm's own unit: for GCRA the debt in ticks, else the permits or places used.
    pub(crate) level: u64,
    /// Until the request fits; negative: never.
    pub(crate) wait: i64,
    /// Until one permit fits; 0 if one fits now.
    pub(crate) following: u64,
    /// Until all permits are back.
    pub(crate) reset: u64,
}

impl Reading {
    /// A reading of GCRA, whose debt determines all times.
    pub(crate) fn of_gcra(fits: bool, debt: u64) -> Self {
        Self {
            fits,
            level: debt,
            wait: 0,
            following: 0,
            reset: 0,
        }
    }
}

impl Standing {
    /// The standing that follows from `reading` after a request.
    pub(crate) fn new(limit: &Arc<Limit>, reading: Reading, request: Request) -> Self {
        let (remaining, window, reset, wait) = match &limit.rate {
            Some(rate) => {
                let remaining = rate.remaining(reading.level);
                let window = match remaining {
                    0 => rate.wait(reading.level, 1).unwrap_or_default(),
                    _ => rate.time_of(remaining),
                };
                let wait = rate
                    .wait(reading.level, request.cost)
                    .map_or(Wait::Never, after);
                (remaining, Some(window), rate.payback(reading.level), wait)
            }
            None => Self::of_window(&limit.policy, reading),
        };
        Self {
            limit: Arc::clone(limit),
            remaining,
            effective_window: window.map(Duration::from_micros),
            resets_after: Duration::from_micros(reset),
            exceeded: !reading.fits,
            wait,
            charged: request.charged,
            at: request.at,
        }
    }

    fn of_window(policy: &Policy, reading: Reading) -> (u32, Option<u64>, u64, Wait) {
        let most = u64::from(policy.limit());
        let remaining = most.saturating_sub(reading.level);
        let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
        let Some(quota) = policy.quota() else {
            return (remaining, None, 0, Wait::Unknown);
        };
        // Draft 11 §6: the remaining permits per effective window must not exceed the rate.
        let at_rate = quota.rate().time_of(remaining);
        let window = match remaining {
            0 => reading.following,
            _ => reading.reset.max(at_rate),
        };
        let wait = u64::try_from(reading.wait).map_or(Wait::Never, after);
        (remaining, Some(window), reading.reset, wait)
    }

    /// The name of the policy.
    pub fn policy(&self) -> &str {
        self.limit.policy.name()
    }

    /// The quota of the policy, or `None` for concurrency.
    pub fn quota(&self) -> Option<Quota> {
        self.limit.policy.quota()
    }

    /// The most that [`remaining`](Self::remaining) can be: the burst, the permits of a window, or the places.
    pub fn limit(&self) -> u32 {
        self.limit.policy.limit()
    }

    /// How many permits are left to use at once.
    pub fn remaining(&self) -> u32 {
        self.remaining
    }

    /// The time over which the client should spread the [`remaining`](Self::remaining) permits: the time that so many
    /// permits take to come back. If none is left, the time until one is back. `None` for concurrency.
    pub fn effective_window(&self) -> Option<Duration> {
        self.effective_window
    }

    /// The time until all permits are back, if no more are used. Zero for concurrency.
    pub fn resets_after(&self) -> Duration {
        self.resets_after
    }

    /// True when the request did not fit under this policy: it was denied, or would have been if this is a
    /// [shadow](Policy::shadow) policy.
    pub fn is_exceeded(&self) -> bool {
        self.exceeded
    }

    /// True for a [shadow](Policy::shadow) policy, which denies nothing.
    pub fn is_shadow(&self) -> bool {
        self.limit.policy.is_shadow()
    }

    /// How long the request has to wait for this policy, if that is known.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.wait.time()
    }

    /// When the permits that were used have come back with time, in microseconds since 1970. If none were used, a time
    /// long ago.
    pub(crate) fn refundable_until(&self) -> u64 {
        match self.charged {
            true => self.at.saturating_add(micros(self.resets_after)),
            false => 1,
        }
    }

    /// Whether permits were used in Redis.
    pub(crate) fn is_charged(&self) -> bool {
        self.charged
    }

    /// The time of the decision plus `wait`, in microseconds since 1970.
    pub(crate) fn time_after(&self, wait: Duration) -> u64 {
        self.at.saturating_add(micros(wait))
    }

    pub(crate) fn fields(&self) -> &PolicyItems {
        &self.limit.fields
    }

    pub(crate) fn with_more(&self, permits: u64) -> Self {
        let remaining = u64::from(self.remaining).saturating_add(permits);
        let remaining = remaining.min(self.limit().into());
        Self {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            ..self.clone()
        }
    }

    /// The same standing; if the request did not fit, the wait is at most `longest`.
    pub(crate) fn within(&self, longest: Duration) -> Self {
        match self.wait {
            Wait::After(time) if self.exceeded => Self {
                effective_window: self.effective_window.map(|time| time.min(longest)),
                wait: Wait::After(time.min(longest)),
                ..self.clone()
            },
            _ => self.clone(),
        }
    }

    pub(crate) fn aged(&self, by: Duration) -> Self {
        Self {
            at: self.time_after(by),
            effective_window: self.effective_window.map(|time| time.saturating_sub(by)),
            resets_after: self.resets_after.saturating_sub(by),
            wait: match self.wait {
                Wait::After(time) => Wait::After(time.saturating_sub(by)),
                other => other,
            },
            ..self.clone()
        }
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing")
            .field("policy", &self.policy())
            .field("remaining", &self.remaining)
            .field("limit", &self.limit())
            .field("exceeded", &self.exceeded)
            .field("resets_after", &self.resets_after)
            .finish_non_exhaustive()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn after(micros: u64) -> Wait {
    Wait::After(Duration::from_micros(micros))
}
