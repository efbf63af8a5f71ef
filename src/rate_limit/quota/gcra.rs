//! The generic cell rate algorithm in whole numbers.
//!
//! A subject has a debt that grows by one permit per request and shrinks as time passes. A request is admitted when the
//! debt including it is at most a full burst. The time when the debt is paid is stored, so an idle subject needs no
//! storage.
//!
//! Time is counted in ticks, a fraction of a microsecond that depends on the quota, so that a permit is a whole number
//! of ticks. NOTE: `script/lua/gcra.lua` does the same inside Redis, where a debt may also store the numbers under
//! which it was made.

/// A quota in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Ticks that one permit takes to come back.
    pub(crate) permit: u64,
    /// Ticks in a microsecond.
    pub(crate) per_micro: u64,
    /// Ticks that a full burst takes to come back; below 2^53, so that a double is exact.
    pub(crate) capacity: u64,
}

/// When a debt is paid: whole microseconds of some clock, plus ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PaidAt {
    pub(crate) micros: u64,
    pub(crate) ticks: u64,
}

/// The result for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) admitted: bool,
    /// The debt in ticks, including this request if it was admitted.
    pub(crate) debt: u64,
}

impl Rate {
    /// Decides on a request for `cost` permits at `now`, in microseconds. Also returns what to store, if that changed.
    pub(crate) fn decide(
        &self,
        stored: Option<PaidAt>,
        now: u64,
        cost: u64,
    ) -> (Outcome, Option<PaidAt>) {
        let owed = stored.map_or(0, |paid_at| self.debt(paid_at, now));
        // A time further ahead than a full burst comes from a clock that was set back, or from a larger quota. The debt
        // is then cut to a full burst and stored; otherwise it would be cut at each request and never shrink.
        let debt = u64::try_from(owed).map_or(self.capacity, |owed| owed.min(self.capacity));
        let heals = owed > u128::from(self.capacity);
        let after = u128::from(debt) + self.price(cost);
        if after > u128::from(self.capacity) {
            let admitted = false;
            return (
                Outcome { admitted, debt },
                heals.then(|| self.paid_at(debt, now)),
            );
        }
        // At most the capacity, so it fits.
        let debt = after as u64;
        let changes = cost > 0 || heals;
        let admitted = true;
        (
            Outcome { admitted, debt },
            changes.then(|| self.paid_at(debt, now)),
        )
    }

    fn paid_at(&self, debt: u64, now: u64) -> PaidAt {
        PaidAt {
            micros: now.saturating_add(debt / self.per_micro),
            ticks: debt % self.per_micro,
        }
    }

    /// How many permits there are left with this debt.
    pub(crate) fn remaining(&self, debt: u64) -> u32 {
        let left = self.capacity.saturating_sub(debt) / self.permit;
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// The microseconds until `cost` permits fit beside this debt, or `None` when they never do.
    pub(crate) fn wait(&self, debt: u64, cost: u64) -> Option<u64> {
        let capacity = u128::from(self.capacity);
        if self.price(cost) > capacity {
            return None;
        }
        let excess = (u128::from(debt) + self.price(cost)).saturating_sub(capacity);
        Some(excess.div_ceil(u128::from(self.per_micro)) as u64)
    }

    /// The microseconds that `permits` take to come back.
    pub(crate) fn time_of(&self, permits: u32) -> u64 {
        let micros = self
            .price(permits.into())
            .div_ceil(u128::from(self.per_micro));
        u64::try_from(micros).unwrap_or(u64::MAX)
    }

    /// The microseconds until a debt is paid.
    pub(crate) fn payback(&self, debt: u64) -> u64 {
        debt.div_ceil(self.per_micro)
    }

    fn price(&self, cost: u64) -> u128 {
        u128::from(cost) * u128::from(self.permit)
    }

    /// The debt at `now`, in ticks.
    fn debt(&self, paid_at: PaidAt, now: u64) -> u128 {
        let Some(micros) = paid_at.micros.checked_sub(now) else {
            return 0;
        };
        let ticks = u128::from(paid_at.ticks.min(self.per_micro - 1));
        u128::from(micros) * u128::from(self.per_micro) + ticks
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::quota::Quota;
    use super::*;

    /// Quotas whose permits are whole microseconds, thirds of them, or far less than one.
    fn quotas() -> impl Strategy<Value = Quota> {
        (1..50_u32, 1..5_000_000_u64, 1..20_u32).prop_map(|(permits, micros, burst)| {
            Quota::new(permits, Duration::from_micros(micros)).burst(burst)
        })
    }

    /// Pauses in microseconds and costs.
    fn requests() -> impl Strategy<Value = Vec<(u64, u64)>> {
        let pause = prop_oneof![Just(0), 0..10_u64, 0..100_000_u64, 0..5_000_000_u64];
        prop::collection::vec((pause, 0..6_u64), 1..100)
    }

    /// The times and costs of what is admitted.
    fn admitted(rate: &Rate, requests: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let (mut now, mut stored, mut admitted) = (NOW, None, Vec::new());
        for &(pause, cost) in requests {
            now += pause;
            let (outcome, paid_at) = rate.decide(stored, now, cost);
            if outcome.admitted {
                admitted.push((now, cost));
            }
            stored = paid_at.or(stored);
        }
        admitted
    }

    proptest! {
        #[test]
        fn no_window_has_more_than_a_burst_and_what_comes_back(quota in quotas(), requests in requests()) {
            let rate = quota.rate();
            let admitted = admitted(&rate, &requests);
            for (at, (start, _)) in admitted.iter().enumerate() {
                let mut used = 0;
                for (end, cost) in &admitted[at..] {
                    used += rate.price(*cost);
                    let back = u128::from(end - start) * u128::from(rate.per_micro);
                    prop_assert!(used <= u128::from(rate.capacity) + back);
                }
            }
        }

        #[test]
        fn a_denied_request_is_admitted_after_its_wait_and_not_before(
            quota in quotas(), requests in requests(), cost in 1..20_u64,
        ) {
            let rate = quota.rate();
            let mut now = NOW;
            let mut stored = None;
            for (pause, cost) in requests {
                now += pause;
                stored = rate.decide(stored, now, cost).1.or(stored);
            }
            let (outcome, paid_at) = rate.decide(stored, now, cost);
            match rate.wait(outcome.debt, cost) {
                _ if outcome.admitted => {}
                None => {
                    prop_assert!(cost > quota.max_burst().into());
                    prop_assert!(!rate.decide(stored, now + (1 << 52), cost).0.admitted);
                }
                Some(wait) => {
                    prop_assert_eq!(paid_at, None);
                    prop_assert!(rate.decide(stored, now + wait, cost).0.admitted);
                    prop_assert!(!rate.decide(stored, now + wait - 1, cost).0.admitted);
                }
            }
        }

        #[test]
        fn what_remains_can_be_used_and_no_more(quota in quotas(), requests in requests()) {
            let rate = quota.rate();
            let (mut now, mut stored) = (NOW, None);
            for (pause, cost) in requests {
                now += pause;
                let (outcome, paid_at) = rate.decide(stored, now, cost);
                stored = paid_at.or(stored);
                let remaining = rate.remaining(outcome.debt);
                prop_assert!(remaining <= quota.max_burst());
                prop_assert!(rate.decide(stored, now, remaining.into()).0.admitted);
                prop_assert!(!rate.decide(stored, now, u64::from(remaining) + 1).0.admitted);
            }
        }
    }

    #[test]
    fn a_greedy_client_gets_every_permit_and_not_one_more() {
        // A third of a microsecond does not vanish: 3 a second for an hour, asked for every 100 ms.
        let rate = Quota::per_second(3).rate();
        let requests = vec![(100_000, 1); 36_000];
        // The first 3 at once, then all that come back until the last of the requests.
        assert_eq!(admitted(&rate, &requests).len(), 3 + 3 * 3_600 - 1);
    }

    #[test]
    fn a_time_far_ahead_counts_as_one_full_burst() {
        let rate = Quota::per_minute(10).rate();
        for micros in [NOW + (1 << 50), u64::MAX] {
            let ticks = u64::MAX;
            let (outcome, stored) = rate.decide(Some(PaidAt { micros, ticks }), NOW, 1);
            assert!(!outcome.admitted);
            assert_eq!(rate.wait(outcome.debt, 1), Some(6_000_000));
            // The clamped debt used to be forgotten, and owed anew at each look until that far time.
            assert!(rate.decide(stored, NOW + 6_000_000, 1).0.admitted);
        }
    }

    #[test]
    fn a_cost_above_the_burst_never_fits() {
        let rate = Quota::per_second(10).rate();
        for cost in [11, u64::MAX] {
            let (outcome, paid_at) = rate.decide(None, NOW, cost);
            assert_eq!((outcome.admitted, outcome.debt, paid_at), (false, 0, None));
            assert_eq!(rate.wait(0, cost), None);
        }
    }

    /// In 2025.
    const NOW: u64 = 1_750_000_000_000_000;
}
