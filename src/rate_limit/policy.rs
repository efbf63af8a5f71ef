//! What a subject is held to: a named quota under an algorithm, or a number of places.

use std::{fmt, sync::Arc, time::Duration};

use super::{gcra::Rate, identity::Identity, quota::Quota};

/// A named limit: so much per time, or so many at once.
///
/// The name, the algorithm and the subject make the budget; with the algorithms that count by windows, so does the length
/// of the window. Layers and [limiters](super::RateLimiter) that have a policy of the same name and algorithm share it,
/// whatever other policies they have; give another name where they should not. A [`Quota`] without a name has a budget
/// that belongs to its numbers: permits, window, burst and algorithm.
///
/// # Numbers that change
///
/// When the numbers change, by a new release or because a subject changes its tier, what was used still counts, permit for
/// permit: who has used two of what becomes 100 an hour has 98 left. What was used under other numbers comes back at the
/// rate of those, so a time to retry is an estimate until then. Only a window of another length, with the algorithms that
/// count by windows, begins afresh. Two sets of numbers that are in use at the same time, such as during a release, never
/// lend each other anything.
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

/// How a quota is kept.
///
/// In the worst window of the quota's length there may be: as much as the quota says with the sliding windows, a burst
/// more than that with [`Gcra`](Self::Gcra), twice as much with [`CalendarWindow`](Self::CalendarWindow).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// The generic cell rate algorithm: permits come back one by one, evenly. The smallest state, one number, gone when
    /// the subject has its burst again. The default.
    #[default]
    Gcra,
    /// A sliding window, exact: a permit comes back when its request leaves the window. Remembers each admitted request,
    /// so it takes quotas of up to 10,000 permits. The quota's burst is not used.
    SlidingLog,
    /// A sliding window in constant memory, 340 bytes a subject: as [`SlidingLog`](Self::SlidingLog), but a permit comes
    /// back up to a 60th of a window later, so that a busy subject gets about 1 % less than the quota. The quota's burst is
    /// not used.
    SlidingWindow,
    /// A fixed window on the calendar, for contracts: all permits come back at once when the next window begins. Windows
    /// are counted from 1970, in UTC: those of a day begin at midnight, those of an hour on the hour, those of seven days
    /// on Thursdays. The quota's burst is not used.
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
    pub(super) fn unnamed(quota: Quota) -> Self {
        Self {
            named: false,
            ..Self::new("default", quota)
        }
    }

    /// At most `places` requests at the same time.
    ///
    /// A request has a place until its response body ends or is dropped. Whatever it costs, it has one; if it costs nothing,
    /// it has none. The place of a
    /// process that crashed is free again when its [lease](Self::lease) is over.
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

    /// For how long a place is kept for a process that does not say anything; default one minute. While a request takes
    /// longer, its place is renewed, every third of this time. Other policies stay as they are.
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

    /// Only to see what it would do: it is counted as if it were enforced, and refuses nothing. Clients are not told of it;
    /// [`Standing::is_exceeded`](super::Standing::is_exceeded) and the log are.
    #[must_use]
    pub fn shadow(mut self) -> Self {
        self.shadow = true;
        self
    }

    /// The same under another name; panics as [`new`](Self::new) does.
    pub(super) fn renamed(mut self, name: &str) -> Self {
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

    /// The quota in ticks, when it is kept by GCRA.
    pub(super) fn rate(&self) -> Option<Rate> {
        match self.measure {
            Measure::Rate {
                quota,
                algorithm: Algorithm::Gcra,
            } => Some(quota.rate()),
            _ => None,
        }
    }

    /// How long a place is kept, for a concurrency policy.
    pub(super) fn lease_time(&self) -> Option<Duration> {
        match self.measure {
            Measure::Rate { .. } => None,
            Measure::Concurrency { lease, .. } => Some(lease),
        }
    }

    /// Whether the application chose the name.
    pub(super) fn is_named(&self) -> bool {
        self.named
    }

    /// The algorithm as the scripts know it.
    pub(super) fn kind(&self) -> &'static str {
        match self.measure {
            Measure::Rate { algorithm, .. } => match algorithm {
                Algorithm::Gcra => "gcra",
                Algorithm::SlidingLog => "log",
                Algorithm::SlidingWindow => "ring",
                Algorithm::CalendarWindow => "calendar",
            },
            Measure::Concurrency { .. } => "places",
        }
    }

    /// What tells the policy's budgets from those of others.
    pub(super) fn budget(&self) -> Identity {
        let (kind, name) = (self.kind(), &*self.name);
        match self.measure {
            Measure::Rate { quota, .. } if !self.named => {
                let [permits, burst] = [quota.permits(), quota.max_burst()].map(u128::from);
                Identity::numbers(kind, &[permits, burst, quota.window().as_nanos()])
            }
            Measure::Rate {
                algorithm: Algorithm::Gcra,
                ..
            } => Identity::from(name),
            // Of windows of another length neither what is stored nor what it means is the same.
            Measure::Rate { quota, .. } => Identity::window(kind, name, quota.window().as_nanos()),
            Measure::Concurrency { .. } => Identity::policy(kind, name),
        }
    }

    /// The numbers of the algorithm as the scripts take them.
    pub(super) fn numbers(&self) -> [String; 3] {
        match self.measure {
            Measure::Rate {
                quota,
                algorithm: Algorithm::Gcra,
            } => {
                let rate = quota.rate();
                let [a, b] = [rate.permit, rate.per_micro].map(|number| number.to_string());
                let c = match self.named {
                    true => mark(quota.max_burst(), &a, &b),
                    false => rate.capacity.to_string(),
                };
                [a, b, c]
            }
            Measure::Rate { quota, algorithm } => {
                let window = micros(quota.window());
                let length = match algorithm {
                    Algorithm::SlidingWindow => window.div_ceil(RING),
                    _ => window,
                };
                [quota.permits().into(), length, 0].map(|number| number.to_string())
            }
            Measure::Concurrency { places, lease } => {
                [places.into(), micros(lease), 0].map(|number| number.to_string())
            }
        }
    }
}

/// What a budget with a name keeps of GCRA's numbers, in digits. NOTE: `lua/gcra.lua` reads it.
fn mark(burst: u32, permit: &str, per_micro: &str) -> String {
    let [a, b] = [permit.len(), per_micro.len()];
    format!("{burst:011}{a:02}{b:02}{permit}{per_micro}")
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

/// Whole microseconds, at least one, never too few.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// NOTE: as in `ring.lua`.
const RING: u64 = 60;

const LONGEST_LOG: u32 = 10_000;

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::{super::policies::Policies, *};

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
            let length = |algorithm| -> u64 {
                let policy = Policy::new("a", quota).algorithm(algorithm);
                policy.numbers()[1].parse().expect("a number")
            };
            assert!(length(Algorithm::SlidingLog) * 1_000 >= nanos);
            assert!(length(Algorithm::SlidingWindow) * 60 * 1_000 >= nanos);
        }
    }

    /// Any two quotas without a name used to have one budget.
    #[test]
    fn without_a_name_the_numbers_make_the_budget() {
        let quotas = [
            Quota::per_second(5),
            Quota::per_second(6),
            Quota::per_minute(5),
            Quota::per_minute(300),
            Quota::per_second(5).burst(6),
            Quota::new(5, Duration::from_nanos(1_000_000_001)),
        ];
        let mut budgets = Vec::new();
        for quota in quotas {
            for algorithm in ALGORITHMS {
                let policy = Policy::unnamed(quota).algorithm(algorithm);
                assert_eq!(policy.budget(), policy.clone().shadow().budget());
                assert_ne!(policy.budget(), policy.clone().renamed("default").budget());
                assert!(
                    !budgets.contains(&policy.budget()),
                    "{policy} {algorithm:?}"
                );
                budgets.push(policy.budget());
            }
        }
    }

    #[test]
    fn a_name_makes_the_budget_whatever_the_permits() {
        let budget =
            |name, quota, algorithm| Policy::new(name, quota).algorithm(algorithm).budget();
        for algorithm in ALGORITHMS {
            let (few, many) = (Quota::per_hour(2), Quota::per_hour(100).burst(7));
            assert_eq!(budget("a", few, algorithm), budget("a", many, algorithm));
            assert_ne!(budget("a", few, algorithm), budget("b", few, algorithm));
        }
        let few = Policy::concurrency("a", 1);
        assert_eq!(few.budget(), Policy::concurrency("a", 2).budget());
    }

    /// The numbers of a mark can be told apart, and it begins with a zero, which nothing else does.
    #[test]
    fn marks_are_digits_that_are_read_from_the_left() {
        let numbers = Policy::new("a", Quota::per_minute(100).burst(7)).numbers();
        assert_eq!(numbers, ["600000", "1", "0000000000706016000001"]);
        let largest = Quota::per_second(u32::MAX);
        let [a, b, c] = Policy::new("a", largest).numbers();
        assert_eq!(c, format!("04294967295{:02}{:02}{a}{b}", a.len(), b.len()));
        assert!(!Policy::unnamed(largest).numbers()[2].starts_with('0'));
    }

    const ALGORITHMS: [Algorithm; 4] = [
        Algorithm::Gcra,
        Algorithm::SlidingLog,
        Algorithm::SlidingWindow,
        Algorithm::CalendarWindow,
    ];
}
