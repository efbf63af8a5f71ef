//! A policy: a named quota with an algorithm, or a number of places.

use std::{fmt, sync::Arc, time::Duration};

use super::{gcra::Rate, quota::Quota};

/// A named limit: a number of permits per time, or a number of requests at once.
///
/// A budget is identified by the name, the algorithm and the subject. Layers and
/// [limiters](crate::rate_limit::RateLimiter) that have a policy of the same name and algorithm share its budgets; give
/// another name where they should not. The budget of a [`Quota`] without a name is identified by its numbers instead:
/// permits, window, burst and algorithm.
///
/// # Other numbers under one name
///
/// The numbers of a policy change with a new release, or when a subject changes its tier. Permits that were used before
/// still count, one for one: a subject that has used two permits has 98 left when the quota becomes 100 an hour. They
/// come back at the rate of the numbers under which the subject was last admitted, or at the new rate if that is
/// faster. With [`CalendarWindow`](Algorithm::CalendarWindow) only permits count that were used since the new window
/// began. With [`SlidingLog`](Algorithm::SlidingLog) permits that have left the shorter of the two windows no longer
/// count.
///
/// Two sets of numbers must not alternate on one subject all the time, since each of them restores permits of the other
/// at its own rate. So two layers on one handle that have one name with two sets of numbers
/// [panic](crate::rate_limit::RateLimitLayer#panics). Conflicts that are only found later are logged as errors, at most
/// one line a second: those of a [limiter](crate::rate_limit::RateLimiter), and those of a tier that has the name of
/// another layer's policy. The tiers of one layer may have one name with different numbers, as each subject is in one
/// tier.
///
/// ```
/// use tower_fred::rate_limit::{Algorithm, Policy, Quota};
///
/// let burst = Policy::new("burst", Quota::per_second(10).burst(20));
/// let contract = Policy::new("contract", Quota::per_day(50_000)).algorithm(Algorithm::CalendarWindow);
/// let uploads = Policy::concurrency("uploads", 4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    name: Arc<str>,
    /// Whether the application chose the name.
    named: bool,
    measure: Measure,
    shadow: bool,
}

/// The algorithm that counts a quota.
///
/// The most permits that are granted in any window of the quota's length: the quota's number with the sliding windows,
/// a burst more than that with [`Gcra`](Self::Gcra), twice the number with [`CalendarWindow`](Self::CalendarWindow).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// The generic cell rate algorithm: permits come back one by one, evenly. The default. It stores the least: a time,
    /// and for a policy with a name the numbers of the quota, until the whole burst is available again.
    #[default]
    Gcra,
    /// An exact sliding window: a permit comes back when its request leaves the window. It stores each admitted
    /// request, so a quota may have at most 10,000 permits. The quota's burst is not used.
    SlidingLog,
    /// A sliding window in constant memory: a value of 268 bytes for each subject. As [`SlidingLog`](Self::SlidingLog),
    /// but a permit comes back up to a 60th of a window later, so that a busy subject gets about 1 % less than the
    /// quota. The quota's burst is not used.
    SlidingWindow,
    /// A fixed window on the calendar, for contracts: all permits come back at once when the next window begins.
    /// Windows are counted from 1970, in UTC: those of a day begin at midnight, those of an hour on the hour, those of
    /// seven days on Thursdays. The quota's burst is not used.
    CalendarWindow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Rate { quota: Quota, algorithm: Algorithm },
    Concurrency { places: u32, lease: Duration },
}

impl Policy {
    /// `quota` under `name`, kept by GCRA.
    ///
    /// # Panics
    ///
    /// When `name` is empty or has characters other than printable ASCII: RFC 9651 §3.3.3 has no others.
    pub fn new(name: &str, quota: Quota) -> Self {
        let algorithm = Algorithm::Gcra;
        Self {
            name: checked(name),
            named: true,
            measure: Measure::Rate { quota, algorithm },
            shadow: false,
        }
    }

    /// `quota` without a name, kept by GCRA. Clients are told the name `default`.
    pub(crate) fn unnamed(quota: Quota) -> Self {
        Self {
            named: false,
            ..Self::new("default", quota)
        }
    }

    /// At most `places` requests at the same time.
    ///
    /// A request has one place until its response body ends or is dropped, whatever it costs; a request that costs
    /// nothing has no place. When a process crashes, its places are free again when their [lease](Self::lease) ends.
    ///
    /// # Panics
    ///
    /// When `places` is zero, and as [`new`](Self::new).
    pub fn concurrency(name: &str, places: u32) -> Self {
        assert!(places > 0, "no places admit nothing");
        let lease = Duration::from_secs(60);
        Self {
            name: checked(name),
            named: true,
            measure: Measure::Concurrency { places, lease },
            shadow: false,
        }
    }

    /// The algorithm; default [`Gcra`](Algorithm::Gcra). A concurrency policy has none and stays as it is.
    ///
    /// # Panics
    ///
    /// When it is [`SlidingLog`](Algorithm::SlidingLog) and the quota is above 10,000 permits.
    #[must_use]
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        if let Measure::Rate { quota, .. } = self.measure {
            assert!(
                algorithm != Algorithm::SlidingLog || quota.permits() <= LONGEST_LOG,
                "a log of more than 10,000 permits: SlidingWindow takes constant memory"
            );
            self.measure = Measure::Rate { quota, algorithm };
        }
        self
    }

    /// How long a place is kept without a renewal; default one minute. The process renews the place of a running
    /// request every third of this time. A policy that is not a concurrency policy stays as it is.
    ///
    /// # Panics
    ///
    /// When it is under one millisecond or above one day.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        let bounds = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
        assert!(bounds.contains(&lease), "a lease of 1 ms to 1 day");
        if let Measure::Concurrency { places, .. } = self.measure {
            self.measure = Measure::Concurrency { places, lease };
        }
        self
    }

    /// Makes it a shadow policy, to test a limit: it is counted as if it were enforced, but denies nothing. Clients do
    /// not see it; [`Standing::is_exceeded`](crate::rate_limit::Standing::is_exceeded) and the log show what it would
    /// deny.
    #[must_use]
    pub fn shadow(mut self) -> Self {
        self.shadow = true;
        self
    }

    /// The same policy under another name; panics as [`new`](Self::new) does.
    pub(crate) fn renamed(mut self, name: &str) -> Self {
        self.name = checked(name);
        self.named = true;
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The quota, or `None` for concurrency.
    pub fn quota(&self) -> Option<Quota> {
        match self.measure {
            Measure::Rate { quota, .. } => Some(quota),
            Measure::Concurrency { .. } => None,
        }
    }

    /// The most permits that there can be at once: the burst, the permits of a window, or the places.
    pub fn limit(&self) -> u32 {
        match self.measure {
            Measure::Rate { quota, algorithm } => match algorithm {
                Algorithm::Gcra => quota.max_burst(),
                _ => quota.permits(),
            },
            Measure::Concurrency { places, .. } => places,
        }
    }

    /// True for a [shadow](Self::shadow) policy.
    pub fn is_shadow(&self) -> bool {
        self.shadow
    }

    /// The quota in ticks, if the algorithm is GCRA.
    pub(crate) fn rate(&self) -> Option<Rate> {
        match self.measure {
            Measure::Rate {
                quota,
                algorithm: Algorithm::Gcra,
            } => Some(quota.rate()),
            _ => None,
        }
    }

    /// The [lease](Self::lease) of a concurrency policy.
    pub(crate) fn lease_time(&self) -> Option<Duration> {
        match self.measure {
            Measure::Rate { .. } => None,
            Measure::Concurrency { lease, .. } => Some(lease),
        }
    }

    /// Whether the application chose the name.
    pub(crate) fn is_named(&self) -> bool {
        self.named
    }

    /// The name of the algorithm in the scripts, and its numbers.
    pub(crate) fn script(&self) -> (&'static str, [u64; 3]) {
        match self.measure {
            Measure::Rate { quota, algorithm } => {
                let permits = u64::from(quota.permits());
                let window = micros(quota.window());
                match algorithm {
                    Algorithm::Gcra => {
                        let rate = quota.rate();
                        ("gcra", [rate.permit, rate.per_micro, rate.capacity])
                    }
                    Algorithm::SlidingLog => ("log", [permits, window, 0]),
                    Algorithm::SlidingWindow => ("ring", [permits, window.div_ceil(RING), 0]),
                    Algorithm::CalendarWindow => ("calendar", [permits, window, 0]),
                }
            }
            Measure::Concurrency { places, lease } => ("places", [places.into(), micros(lease), 0]),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.measure {
            Measure::Rate { quota, .. } => write!(f, "{}: {quota}", self.name),
            Measure::Concurrency { places, .. } => write!(f, "{}: {places} at once", self.name),
        }
    }
}

fn checked(name: &str) -> Arc<str> {
    let printable = |byte: u8| matches!(byte, b' '..=b'~');
    assert!(
        !name.is_empty() && name.bytes().all(printable),
        "the name of a policy must be printable ASCII"
    );
    name.into()
}

/// Whole microseconds, at least one, rounded up.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// Sub-windows of a window. NOTE: as in `script/lua/ring.lua`.
const RING: u64 = 60;

/// The most permits of a quota under `SlidingLog`.
const LONGEST_LOG: u32 = 10_000;

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;
    use crate::rate_limit::quota::policies::Policies;

    #[test]
    fn nonsense_is_refused() {
        let quota = Quota::per_day(10_001);
        let refused: [fn() -> Policies; 9] = [
            || Policy::new("", Quota::per_day(1)).into(),
            || Policy::new("a\n", Quota::per_day(1)).into(),
            || Policy::concurrency("caf\u{e9}", 1).into(),
            || Policy::concurrency("a", 0).into(),
            || Policy::concurrency("a", 1).lease(Duration::ZERO).into(),
            || Policy::concurrency("a", 1).lease(Duration::MAX).into(),
            || Policies::from([]),
            || Policies::from([Policy::concurrency("a", 1), Policy::concurrency("a", 2)]),
            || {
                let log = Policy::new("a", Quota::per_day(10_001));
                log.algorithm(Algorithm::SlidingLog).into()
            },
        ];
        for (at, make) in refused.iter().enumerate() {
            assert!(catch_unwind(make).is_err(), "number {at}");
        }
        let _ = Policy::new("a", quota).algorithm(Algorithm::SlidingWindow);
    }

    #[test]
    fn a_window_is_never_shorter_than_its_quota_says() {
        for nanos in [1, 999, 1_000, 1_001, 61_000, 1_000_000_007] {
            let quota = Quota::new(5, Duration::from_nanos(nanos));
            let policy = |algorithm| Policy::new("a", quota).algorithm(algorithm).script().1[1];
            assert!(policy(Algorithm::SlidingLog) * 1_000 >= nanos);
            assert!(policy(Algorithm::SlidingWindow) * 60 * 1_000 >= nanos);
        }
    }
}
