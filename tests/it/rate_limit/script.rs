//! The script with a clock that the test sets, against the same algorithm in Rust.

// The library's own files: what is limited within the process is compared with what Redis says.
#[allow(dead_code, unreachable_pub)]
#[path = "../../../src/rate_limit/gcra.rs"]
mod gcra;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../src/rate_limit/quota.rs"]
mod quota;

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tower_fred::fred::clients::Client;

use self::{
    gcra::{PaidAt, Rate},
    quota::Quota,
};
use super::command;
use crate::support::{Server, server::namespace};

/// The script on one key, at times of the test's choosing.
struct Script<'a> {
    admin: &'a Client,
    text: String,
    key: String,
}

impl<'a> Script<'a> {
    fn new(admin: &'a Client) -> Self {
        let text = concat!(
            include_str!("../../../src/redis/prelude.lua"),
            include_str!("../../../src/rate_limit/gcra.lua")
        );
        let replace = |text: &str, old: &str, new: &str| {
            assert_eq!(text.matches(old).count(), 1, "{old}");
            text.replace(old, new)
        };
        let text = replace(text, "redis.call('TIME')", "{ARGV[7], ARGV[8]}");
        // The server would let keys go by its own clock.
        let text = replace(&text, "'PXAT', math", "'PXAT', 4e12 + math");
        let key = namespace();
        Self { admin, text, key }
    }

    /// Whether it admits, and the debt.
    async fn decide(&self, rate: &Rate, now: u64, cost: u32) -> (bool, u64) {
        let numbers = [
            rate.permit,
            rate.per_micro,
            rate.capacity,
            cost.into(),
            now / 1_000_000,
            now % 1_000_000,
        ];
        let numbers = numbers.map(|number| number.to_string());
        let mut arguments = vec![self.text.as_str(), "1", &self.key, "proof", "0"];
        arguments.extend(numbers.iter().map(String::as_str));
        let (proof, _, ran, admitted, debt): (String, i64, String, bool, u64) =
            command(self.admin, "EVAL", &arguments).await;
        assert_eq!((proof.as_str(), ran.as_str()), ("proof", "ran"));
        (admitted, debt)
    }

    async fn stored(&self) -> Option<PaidAt> {
        let value: Option<String> = command(self.admin, "GET", &[&self.key]).await;
        value.map(|value| {
            let (micros, ticks) = value.split_once(':').unwrap_or((&value, "0"));
            PaidAt {
                micros: micros.parse().expect("microseconds"),
                ticks: ticks.parse().expect("ticks"),
            }
        })
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

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn redis_and_this_process_agree() {
    let server = Server::shared();
    let admin = server.admin().await;
    let run = |quota: Quota, requests: Vec<(i64, u64)>| {
        let (admin, handle) = (&admin, tokio::runtime::Handle::current());
        tokio::task::block_in_place(|| handle.block_on(agree(admin, quota, &requests)))
    };
    let config = Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&(quotas(), requests()), |(quota, requests)| {
            run(quota, requests)
        })
        .unwrap();
}

async fn agree(admin: &Client, quota: Quota, requests: &[(i64, u64)]) -> Result<(), TestCaseError> {
    let rate = quota.rate();
    let script = Script::new(admin);
    let (mut now, mut stored) = (NOW, None);
    for (pause, cost) in requests {
        let pause = i128::from(rate.payback(rate.capacity)) * i128::from(*pause) / 1_000;
        now = (i128::from(now) + pause).clamp(0, 2 * i128::from(NOW)) as u64;
        let cost = (u64::from(quota.max_burst()) * cost).div_ceil(1_000) as u32;

        let (outcome, paid_at) = rate.decide(stored, now, cost);
        stored = paid_at.or(stored);
        let theirs = script.decide(&rate, now, cost).await;
        prop_assert_eq!(theirs, (outcome.admitted, outcome.debt));
        prop_assert_eq!(script.stored().await, stored);
    }
    Ok(())
}

#[tokio::test]
async fn admitted_at_the_microsecond_and_not_before() {
    let server = Server::shared();
    let admin = server.admin().await;
    for quota in [
        Quota::per_second(3),
        Quota::per_second(7_000),
        Quota::per_minute(100).burst(1),
        Quota::per_second(4_000_000_000).burst(9_999),
        Quota::per_day(999_983),
    ] {
        let rate = quota.rate();
        for cost in [1, quota.max_burst().div_ceil(3), quota.max_burst()] {
            let script = Script::new(&admin);
            let (admitted, _) = script.decide(&rate, NOW, quota.max_burst()).await;
            assert!(admitted);
            let (admitted, debt) = script.decide(&rate, NOW, cost).await;
            assert!(!admitted);
            let wait = rate.wait(debt, cost).unwrap();
            // The denial one microsecond before changes nothing.
            assert!(
                !script.decide(&rate, NOW + wait - 1, cost).await.0,
                "{quota} {cost}"
            );
            assert!(
                script.decide(&rate, NOW + wait, cost).await.0,
                "{quota} {cost}"
            );
        }
    }
}

/// In 2025.
const NOW: u64 = 1_750_000_000_000_000;
