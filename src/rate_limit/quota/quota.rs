//! A quota: a rate and a burst.

use std::{fmt, time::Duration};

use super::gcra::Rate;

/// A number of permits per time, and how many of them may be used at once.
///
/// A quota is a sustained rate and a burst. The default burst is all permits of the window: `Quota::per_minute(100)`
/// sustains 100 a minute, one every 600 ms, and lets a subject that was idle send 100 at once. So the busiest minute
/// admits 199: a full burst and what comes back during it. `.burst(10)` makes that 109.
///
/// ```
/// use std::time::Duration;
/// use tower_fred::rate_limit::Quota;
///
/// const SEARCH: Quota = Quota::per_second(5).burst(20);
/// assert_eq!(SEARCH.to_string(), "5 per 1s, burst 20");
/// assert_eq!(Quota::per_minute(100).to_string(), "100 per 60s, burst 100");
/// assert_eq!(Quota::new(3, Duration::from_millis(250)).to_string(), "3 per 250ms, burst 3");
/// ```
///
/// An invalid quota in a constant does not compile:
///
/// ```compile_fail
/// const NOTHING: tower_fred::rate_limit::Quota = tower_fred::rate_limit::Quota::per_second(0);
/// ```
///
/// # Precision
///
/// Rates are not rounded: three per second is one every third of a second, and 4,000,000,000 per second is possible.
/// Redis's scripts compute with 53 bits. Where an exact fraction does not fit, a permit takes up to a millionth longer
/// to come back. The resolution of the clock is one microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    permits: u32,
    window: Duration,
    burst: u32,
}

impl Quota {
    /// `permits` in each second, all of them at once if the subject was idle.
    ///
    /// # Panics
    ///
    /// When `permits` is zero.
    pub const fn per_second(permits: u32) -> Self {
        Self::new(permits, Duration::from_secs(1))
    }

    /// `permits` in each minute, all of them at once if the subject was idle.
    ///
    /// # Panics
    ///
    /// When `permits` is zero.
    pub const fn per_minute(permits: u32) -> Self {
        Self::new(permits, Duration::from_secs(60))
    }

    /// `permits` in each hour, all of them at once if the subject was idle.
    ///
    /// # Panics
    ///
    /// When `permits` is zero.
    pub const fn per_hour(permits: u32) -> Self {
        Self::new(permits, Duration::from_secs(60 * 60))
    }

    /// `permits` in each 24 hours, all of them at once if the subject was idle.
    ///
    /// # Panics
    ///
    /// When `permits` is zero.
    pub const fn per_day(permits: u32) -> Self {
        Self::new(permits, Duration::from_secs(24 * 60 * 60))
    }

    /// `permits` in each `window`, all of them at once if the subject was idle.
    ///
    /// # Panics
    ///
    /// When `permits` or `window` is zero, or `window` is 2^52 microseconds (142 years) or more.
    pub const fn new(permits: u32, window: Duration) -> Self {
        assert!(permits > 0, "a quota of zero permits admits nothing");
        assert!(!window.is_zero(), "the window of a quota must not be zero");
        let quota = Self {
            permits,
            window,
            burst: permits,
        };
        quota.rate();
        quota
    }

    /// How many permits a subject that was idle may use at once; default: the permits of one window.
    ///
    /// # Panics
    ///
    /// When `burst` is zero, or takes 2^52 microseconds (142 years) or more to come back.
    #[must_use]
    pub const fn burst(mut self, burst: u32) -> Self {
        assert!(burst > 0, "a burst of zero admits nothing");
        self.burst = burst;
        self.rate();
        self
    }

    /// The permits of a window.
    pub const fn permits(&self) -> u32 {
        self.permits
    }

    /// The window.
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// How many permits may be used at once.
    pub const fn max_burst(&self) -> u32 {
        self.burst
    }

    /// The quota in ticks: exact if that fits into `MAX_TICKS`, else with the finest ticks that fit.
    pub(crate) const fn rate(&self) -> Rate {
        let (nanos, burst) = (self.window.as_nanos(), self.burst as u128);
        // A permit takes nanos / divisor microseconds.
        let divisor = self.permits as u128 * 1000;
        assert!(
            nanos * burst / divisor < LONGEST,
            "a full burst must come back in under 2^52 microseconds"
        );
        let common = gcd(nanos, divisor);
        let (mut permit, mut per_micro) = (nanos / common, divisor / common);
        if permit * burst > MAX_TICKS {
            // One tick less leaves room for rounding the permit up.
            per_micro = (MAX_TICKS / burst - 1) * divisor / nanos;
            permit = (nanos * per_micro).div_ceil(divisor);
        }
        Rate {
            permit: permit as u64,
            per_micro: per_micro as u64,
            capacity: (permit * burst) as u64,
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            permits,
            window,
            burst,
        } = self;
        write!(f, "{permits} per {window:?}, burst {burst}")
    }
}

const fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Up to this number a double is exact for each whole number.
const MAX_TICKS: u128 = (1 << 53) - 1;

/// In microseconds. The time since 1970 plus this stays below 2^53.
const LONGEST: u128 = 1 << 52;

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_rates_are_exact() {
        let micros = |quota: Quota| {
            let Rate {
                permit, per_micro, ..
            } = quota.rate();
            (permit, per_micro)
        };
        assert_eq!(micros(Quota::per_minute(100)), (600_000, 1));
        assert_eq!(micros(Quota::per_second(5_000)), (200, 1));
        assert_eq!(micros(Quota::per_second(3)), (1_000_000, 3));
        assert_eq!(micros(Quota::per_second(4_000_000_000)), (1, 4_000));
        assert_eq!(micros(Quota::per_day(1_000_000)), (86_400, 1));
        assert_eq!(micros(Quota::new(2, Duration::from_nanos(3))), (3, 2_000));
    }

    #[test]
    fn nonsense_is_refused() {
        let century = Duration::from_secs(100 * 365 * 86_400);
        let _ = Quota::new(1, century);
        let refused: [fn() -> Quota; 7] = [
            || Quota::per_second(0),
            || Quota::per_second(1).burst(0),
            || Quota::new(1, Duration::ZERO),
            || Quota::new(1, Duration::MAX),
            || Quota::new(u32::MAX, Duration::MAX),
            || Quota::new(1, Duration::from_secs(143 * 365 * 86_400)),
            || Quota::per_day(1).burst(52_200),
        ];
        for (at, make) in refused.iter().enumerate() {
            assert!(catch_unwind(make).is_err(), "number {at}");
        }
    }

    /// Numbers of up to so many bits, small ones as often as large ones.
    fn any_size(bits: u32) -> impl Strategy<Value = u64> {
        (0..bits, any::<u64>()).prop_map(|(top, number)| (number >> (63 - top)) | (1 << top))
    }

    proptest! {
        #[test]
        fn a_permit_is_never_too_cheap_nor_a_millionth_too_dear(
            permits in any_size(32), burst in any_size(32), nanos in any_size(63),
        ) {
            let (permits, burst) = (permits as u32, burst as u32);
            let (nanos, divisor) = (u128::from(nanos), u128::from(permits) * 1000);
            prop_assume!(nanos * u128::from(burst.max(permits)) / divisor < LONGEST);
            let quota = Quota::new(permits, Duration::from_nanos(nanos as u64)).burst(burst);
            let Rate { permit, per_micro, capacity } = quota.rate();

            // permit / per_micro is at least nanos / divisor
            let (ours, exact) = (u128::from(permit) * divisor, nanos * u128::from(per_micro));
            prop_assert!(ours >= exact);
            prop_assert!((ours - exact) * 1_000_000 < exact);
            prop_assert_eq!(u128::from(capacity), u128::from(permit) * u128::from(burst));
            prop_assert!(u128::from(capacity) <= MAX_TICKS);
        }
    }
}
