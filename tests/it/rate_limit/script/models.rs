//! The scripts against models: random policies, costs and pauses.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    gcra::PaidAt,
    harness::{NOW, Policy, Script, check, micros},
    quota::Quota,
};
use crate::support::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn redis_and_this_process_agree_on_gcra() {
    let server = Server::shared();
    let admin = server.admin().await;
    let marked = prop::bool::ANY;
    check(
        150,
        (quotas(), requests(), marked),
        async |(quota, requests, marked)| {
            let rate = quota.rate();
            let policy = if marked { Policy::named } else { Policy::new };
            let script = Script::new(&admin, [policy("gcra", quota)]);
            let (mut now, mut stored) = (NOW, None);
            for (pause, cost) in requests {
                let pause = i128::from(rate.payback(rate.capacity)) * i128::from(pause) / 1_000;
                now = (i128::from(now) + pause).clamp(0, 2 * i128::from(NOW)) as u64;
                let cost = (u64::from(quota.max_burst()) * cost).div_ceil(1_000);

                let (outcome, paid_at) = rate.decide(stored, now, cost);
                stored = paid_at.or(stored);
                let theirs = script.take(now, cost).await;
                let theirs = (theirs.admitted, theirs.policies[0][1] as u64);
                prop_assert_eq!(theirs, (outcome.admitted, outcome.debt));
                prop_assert_eq!(script.paid_at().await, stored);
            }
            Ok(())
        },
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn policies_of_all_algorithms_agree_with_their_models() {
    let server = Server::shared();
    let admin = server.admin().await;
    check(120, (policies(), steps()), async |(policies, steps)| {
        let script = Script::new(&admin, policies.clone());
        let mut models: Vec<Model> = policies.into_iter().map(Model::new).collect();
        let mut now = NOW;
        for (pause, cost, refund) in steps {
            now += pause;
            // What a refund does to GCRA is another test's: there are fractions in it.
            if refund && models.iter().all(|model| model.policy.kind != "gcra") {
                script.refund(now, cost, 0).await;
                models.iter_mut().for_each(|model| model.refund(now, cost));
                continue;
            }
            let before = script.stored().await;
            let answer = script.take(now, cost).await;
            let fit: Vec<bool> = models
                .iter_mut()
                .map(|model| model.fits(now, cost))
                .collect();
            prop_assert_eq!(answer.admitted, fit.iter().all(|fits| *fits));
            if answer.admitted {
                models.iter_mut().for_each(|model| model.take(now, cost));
            } else {
                let after = script.stored().await;
                // What has left a log is swept even then; nothing else changes.
                let is_log = |at: usize| models[at].policy.kind == "log";
                let same = (0..after.len()).all(|at| is_log(at) || after[at] == before[at]);
                prop_assert!(same, "a denial changed what is stored");
            }
            for (at, [fits, level, wait, ..]) in answer.policies.into_iter().enumerate() {
                prop_assert_eq!(fits == 1, fit[at]);
                let model = &mut models[at];
                if model.policy.kind == "gcra" {
                    continue;
                }
                prop_assert_eq!(level as u64, model.level(now));
                if fits == 1 {
                    continue;
                }
                prop_assert_eq!(wait == -1, cost > model.policy.limit());
                if wait != -1 {
                    let level = model.used.clone();
                    prop_assert!(
                        !model.fits(now + wait as u64 - 1, cost),
                        "{wait} is too long"
                    );
                    model.used.clone_from(&level);
                    prop_assert!(model.fits(now + wait as u64, cost), "{wait} is too short");
                    model.used = level;
                }
            }
        }
        Ok(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_sliding_window_has_more_than_the_limit() {
    let server = Server::shared();
    let admin = server.admin().await;
    let quota = (1..30_u32, 1..100_000_u64)
        .prop_map(|(permits, window)| Quota::new(permits, Duration::from_micros(window)));
    // As greedy as a client can be: it asks again and again, from the worst moment on.
    let greedy = prop::collection::vec((1..40_u64, 1..5_u64), 60..61);
    check(40, (quota, greedy), async |(quota, requests)| {
        for kind in ["log", "ring"] {
            let script = Script::new(&admin, [Policy::new(kind, quota)]);
            let (mut now, mut admitted) = (NOW, Vec::<(u64, u64)>::new());
            for (pause, cost) in &requests {
                now += micros(quota) * pause / 200;
                if script.take(now, *cost).await.admitted {
                    admitted.push((now, *cost));
                }
            }
            for (start, _) in &admitted {
                let within = |at: &u64| (*start..*start + micros(quota)).contains(at);
                let used = admitted.iter().filter(|(at, _)| within(at));
                let used: u64 = used.map(|(_, cost)| cost).sum();
                prop_assert!(used <= u64::from(quota.permits()), "{kind}: {used}");
            }
        }
        Ok(())
    });
}

/// What was admitted, remembered in full, and the rule of each algorithm about it.
struct Model {
    policy: Policy,
    used: Vec<(u64, u64)>,
    paid_at: Option<PaidAt>,
}

impl Model {
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            used: Vec::new(),
            paid_at: None,
        }
    }

    /// What counts at `now`.
    fn level(&mut self, now: u64) -> u64 {
        let [_, length, _] = self.policy.numbers;
        let counts = |at: u64| match self.policy.kind {
            "log" => at + length > now,
            "ring" => at / length + 60 >= now / length,
            _ => at / length == now / length,
        };
        self.used.retain(|(at, _)| counts(*at));
        self.used.iter().map(|(_, cost)| cost).sum()
    }

    fn fits(&mut self, now: u64, cost: u64) -> bool {
        match self.policy.kind {
            "gcra" => {
                let (outcome, _) = self.policy.rate().decide(self.paid_at, now, cost);
                outcome.admitted
            }
            _ => self.level(now) + cost <= self.policy.limit(),
        }
    }

    fn take(&mut self, now: u64, cost: u64) {
        let (_, paid_at) = self.policy.rate().decide(self.paid_at, now, cost);
        self.paid_at = paid_at.or(self.paid_at);
        self.used.push((now, cost));
    }

    /// From the oldest on.
    fn refund(&mut self, now: u64, mut permits: u64) {
        self.level(now);
        for (_, cost) in &mut self.used {
            let some = permits.min(*cost);
            (permits, *cost) = (permits - some, *cost - some);
        }
    }
}

/// Windows from a microsecond to years, with whole permits and with fractions, and some whose fractions do not fit.
fn quotas() -> impl Strategy<Value = Quota> {
    let size = |bits: u32| (0..bits, any::<u64>()).prop_map(|(n, x)| (x >> (63 - n)) | (1 << n));
    (size(32), size(55), size(20)).prop_filter_map("too long", |(permits, nanos, burst)| {
        let (permits, burst) = (permits as u32, burst as u32);
        let payback =
            |burst: u32| u128::from(nanos) * u128::from(burst) / (u128::from(permits) * 1_000);
        (payback(permits.max(burst)) < 1 << 52)
            .then(|| Quota::new(permits, Duration::from_nanos(nanos)).burst(burst))
    })
}

/// Requests as fractions: of the time that a burst takes, also backwards, and of a burst.
fn requests() -> impl Strategy<Value = Vec<(i64, u64)>> {
    let pause = prop_oneof![3 => Just(0), 6 => 0..300_i64, 1 => -500..2_000_i64];
    let cost = prop_oneof![5 => 0..300_u64, 1 => 990..1_010_u64];
    prop::collection::vec((pause, cost), 1..25)
}

/// Small quotas of all algorithms, so that a few requests use them up.
fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let kind = prop_oneof![Just("gcra"), Just("log"), Just("ring"), Just("calendar")];
    let policy = (kind, 1..12_u32, 1..2_000_000_u64, 1..12_u32).prop_map(
        |(kind, permits, window, burst)| {
            let quota = Quota::new(permits, Duration::from_micros(window)).burst(burst);
            Policy::new(kind, quota)
        },
    );
    prop::collection::vec(policy, 1..4)
}

/// What is done: a request for permits, or a refund, after a pause in microseconds.
fn steps() -> impl Strategy<Value = Vec<(u64, u64, bool)>> {
    let pause =
        prop_oneof![3 => Just(0), 2 => 0..100_u64, 3 => 0..100_000_u64, 1 => 0..3_000_000_u64];
    let refund = prop::bool::weighted(0.1);
    prop::collection::vec((pause, 0..6_u64, refund), 1..40)
}
