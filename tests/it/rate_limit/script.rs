//! The scripts with a clock that the test sets, against plain models in Rust.

// The library's own files: what is limited within the process is compared with what Redis says.
#[allow(dead_code, unreachable_pub)]
#[path = "../../../src/rate_limit/quota/gcra.rs"]
mod gcra;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../src/rate_limit/quota/quota.rs"]
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

/// Some policies, each on a key of its own, at times of the test's choosing.
struct Script<'a> {
    admin: &'a Client,
    policies: Vec<(Policy, String)>,
}

/// An algorithm with what the scripts take.
#[derive(Clone, Debug)]
struct Policy {
    kind: &'static str,
    numbers: [u64; 3],
    /// Of a budget that may get other numbers: instead of the last one.
    mark: Option<String>,
    shadow: bool,
}

/// What a script says: whether it admits, and of each policy whether it does, its level, and the waits until the request
/// fits, until there is one more permit and until there are all.
#[derive(Debug)]
struct Answer {
    admitted: bool,
    granted: u64,
    policies: Vec<[i64; 5]>,
}

impl<'a> Script<'a> {
    fn new(admin: &'a Client, policies: impl IntoIterator<Item = Policy>) -> Self {
        let own = |policy| (policy, namespace());
        let policies = policies.into_iter().map(own).collect();
        Self { admin, policies }
    }

    /// Runs one of the scripts; `modes` has a word for each policy.
    async fn run(&self, text: &str, head: [String; 3], modes: &[String], now: u64) -> Vec<i64> {
        let replace = |text: &str, old: &str, new: &str| {
            assert_eq!(text.matches(old).count(), 1, "{old}");
            text.replace(old, new)
        };
        let text = replace(text, "redis.call('TIME')", "{ARGV[#ARGV - 1], ARGV[#ARGV]}");
        // The server would let keys go by its own clock.
        let text = replace(&text, "micros / 1000) + 1", "micros / 1000) + 4e12");
        let count = self.policies.len().to_string();
        let mut words = vec![text, count];
        words.extend(self.policies.iter().map(|(_, key)| key.clone()));
        words.extend(["proof".to_owned(), "0".to_owned()]);
        words.extend(head);
        for ((policy, _), mode) in self.policies.iter().zip(modes) {
            words.extend([policy.kind.to_owned(), mode.clone()]);
            let [a, b, c] = policy.numbers.map(|number| number.to_string());
            words.extend([a, b, policy.mark.clone().unwrap_or(c)]);
        }
        words.extend([now / 1_000_000, now % 1_000_000].map(|number| number.to_string()));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut reply: Vec<String> = command(self.admin, "EVAL", &words).await;
        assert_eq!((reply[0].as_str(), reply[2].as_str()), ("proof", "ran"));
        reply.drain(..3);
        let numbers = reply.iter().map(|number| number.parse().expect("a number"));
        numbers.collect()
    }

    async fn ask(&self, now: u64, [least, most]: [u64; 2], mode: &str) -> Answer {
        let head = [least.to_string(), most.to_string(), mode.to_owned()];
        let modes = self.policies.iter().map(|(policy, _)| {
            let mode = if policy.shadow { "shadow" } else { "enforced" };
            mode.to_owned()
        });
        let modes: Vec<String> = modes.collect();
        let reply = self.run(&text(DECIDE), head, &modes, now).await;
        assert_eq!(reply[2], now as i64);
        let policies = reply[3..]
            .chunks(5)
            .map(|five| five.try_into().expect("five"));
        Answer {
            admitted: reply[0] == 1,
            granted: reply[1] as u64,
            policies: policies.collect(),
        }
    }

    async fn take(&self, now: u64, cost: u64) -> Answer {
        self.ask(now, [cost, cost], "take").await
    }

    async fn fits(&self, now: u64, cost: u64) -> bool {
        self.ask(now, [cost, cost], "look").await.admitted
    }

    async fn refund(&self, now: u64, permits: u64, over: u64) {
        let head = [permits.to_string(), "-".to_owned(), "-".to_owned()];
        let modes = vec![over.to_string(); self.policies.len()];
        self.run(&text(REFUND), head, &modes, now).await;
    }

    /// All that is stored, byte for byte.
    async fn stored(&self) -> Vec<Option<tower_fred::fred::types::Value>> {
        let mut stored = Vec::new();
        for (_, key) in &self.policies {
            stored.push(command(self.admin, "DUMP", &[key]).await);
        }
        stored
    }

    async fn paid_at(&self) -> Option<PaidAt> {
        let value: Option<String> = command(self.admin, "GET", &[&self.policies[0].1]).await;
        value.map(|value| {
            let (micros, rest) = value.split_once(':').unwrap_or((&value, ""));
            let mark = self.policies[0].0.mark.as_deref().unwrap_or_default();
            let ticks = match rest.strip_prefix(mark).expect("the mark") {
                "" => "0",
                ticks => ticks,
            };
            PaidAt {
                micros: micros.parse().expect("microseconds"),
                ticks: ticks.parse().expect("ticks"),
            }
        })
    }
}

impl Policy {
    fn new(kind: &'static str, quota: Quota) -> Self {
        let (permits, window) = (quota.permits().into(), micros(quota));
        let numbers = match kind {
            "gcra" => {
                let rate = quota.rate();
                [rate.permit, rate.per_micro, rate.capacity]
            }
            "ring" => [permits, window.div_ceil(60), 0],
            _ => [permits, window, 0],
        };
        let shadow = false;
        Self {
            kind,
            numbers,
            mark: None,
            shadow,
        }
    }

    /// As of a budget with a name.
    fn named(kind: &'static str, quota: Quota) -> Self {
        let policy = Self::new(kind, quota);
        let [a, b, _] = policy.numbers.map(|number| number.to_string());
        let burst = policy.limit().to_string();
        let mark = format!(
            "0{}{:02}{:02}{burst}{a}{b}",
            burst.len() - 1,
            a.len(),
            b.len()
        );
        Self {
            mark: (kind == "gcra").then_some(mark),
            ..policy
        }
    }

    fn limit(&self) -> u64 {
        match self.kind {
            "gcra" => self.numbers[2] / self.numbers[0],
            _ => self.numbers[0],
        }
    }

    fn rate(&self) -> Rate {
        let [permit, per_micro, capacity] = self.numbers;
        Rate {
            permit,
            per_micro,
            capacity,
        }
    }
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

fn micros(quota: Quota) -> u64 {
    quota.window().as_nanos().div_ceil(1_000) as u64
}

/// The files as the library puts them together.
fn text(parts: &[&str]) -> String {
    parts.concat()
}

const DECIDE: &[&str] = &[
    PRELUDE,
    ALGORITHMS,
    include_str!("../../../src/rate_limit/script/lua/decide.lua"),
];
const REFUND: &[&str] = &[
    PRELUDE,
    ALGORITHMS,
    include_str!("../../../src/rate_limit/script/lua/refund.lua"),
];
const PRELUDE: &str = include_str!("../../../src/redis/client/lua/prelude.lua");
const ALGORITHMS: &str = concat!(
    include_str!("../../../src/rate_limit/script/lua/policies.lua"),
    include_str!("../../../src/rate_limit/script/lua/gcra.lua"),
    include_str!("../../../src/rate_limit/script/lua/log.lua"),
    include_str!("../../../src/rate_limit/script/lua/ring.lua"),
    include_str!("../../../src/rate_limit/script/lua/calendar.lua"),
    include_str!("../../../src/rate_limit/script/lua/places.lua"),
);

const WINDOWS: [&str; 3] = ["log", "ring", "calendar"];

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

/// Runs a property that needs the server.
fn check<T: std::fmt::Debug, F: Future<Output = Result<(), TestCaseError>>>(
    cases: u32,
    strategy: impl Strategy<Value = T>,
    property: impl Fn(T) -> F,
) {
    let handle = tokio::runtime::Handle::current();
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let run = |value| tokio::task::block_in_place(|| handle.block_on(property(value)));
    TestRunner::new(config)
        .run(&strategy, run)
        .expect("as arranged");
}

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

#[tokio::test]
async fn admitted_at_the_microsecond_and_not_before() {
    let server = Server::shared();
    let admin = server.admin().await;
    for quota in [
        Quota::per_second(3),
        Quota::per_second(7_000),
        Quota::per_minute(100).burst(1),
        Quota::per_second(1_000_000_000),
        Quota::per_second(4_000_000_000).burst(9_999),
        Quota::per_day(1),
        Quota::per_day(999_983),
    ] {
        for kind in ["gcra", "log", "ring", "calendar"] {
            let policy = Policy::new(kind, quota);
            let limit = policy.limit();
            for cost in [1, limit.div_ceil(3), limit] {
                let script = Script::new(&admin, [policy.clone()]);
                assert!(script.take(NOW, limit).await.admitted);
                let before = script.stored().await;
                let denied = script.take(NOW, cost).await;
                assert!(!denied.admitted);
                let [_, level, wait, following, reset] = denied.policies[0];
                let wait = match kind {
                    "gcra" => quota.rate().wait(level as u64, cost).unwrap(),
                    _ => {
                        // All were used at once, so all come back at once.
                        assert_eq!((following, reset), (wait, wait), "{kind}");
                        wait as u64
                    }
                };
                let context = format!("{kind} {quota} {cost}");
                assert!(
                    !script.take(NOW + wait - 1, cost).await.admitted,
                    "{context}"
                );
                assert_eq!(script.stored().await, before, "{context}");
                assert!(script.take(NOW + wait, cost).await.admitted, "{context}");
            }
        }
    }
}

#[tokio::test]
async fn a_cost_above_the_limit_never_fits() {
    let server = Server::shared();
    let admin = server.admin().await;
    for kind in WINDOWS {
        let script = Script::new(&admin, [Policy::new(kind, Quota::per_second(10))]);
        for cost in [11, u64::from(u32::MAX) + 1] {
            let answer = script.take(NOW, cost).await;
            assert!(!answer.admitted);
            assert_eq!(answer.policies[0], [0, 0, -1, 0, 0], "{kind}");
        }
        assert_eq!(script.stored().await, [None]);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_heals_within_a_window() {
    let server = Server::shared();
    let admin = server.admin().await;
    let hour = 3_600_000_000;
    for kind in ["gcra", "log", "ring", "calendar"] {
        let policy = Policy::named(kind, Quota::per_minute(10));
        let script = Script::new(&admin, [policy]);
        assert!(script.take(NOW + hour, 10).await.admitted);
        // Nothing is forgotten, and nobody waits for the hour.
        assert!(!script.take(NOW, 1).await.admitted, "{kind}");
        // What came from the other clock used to count until that time was there again: a denial did not store it anew.
        assert!(!script.take(NOW + 1, 1).await.admitted, "{kind}");
        assert!(script.take(NOW + 61_000_000, 10).await.admitted, "{kind}");
    }
    let places = Policy {
        kind: "places",
        numbers: [1, 60_000_000, 7],
        mark: None,
        shadow: false,
    };
    let script = Script::new(&admin, [places]);
    assert!(script.take(NOW + hour, 1).await.admitted);
    assert!(!script.take(NOW, 1).await.admitted);
    assert!(script.fits(NOW + 60_000_000, 1).await);
}

#[tokio::test]
async fn as_many_as_there_are() {
    let server = Server::shared();
    let admin = server.admin().await;
    for kind in ["gcra", "log", "ring", "calendar"] {
        let ten = Policy::new(kind, Quota::per_day(10));
        let script = Script::new(&admin, [ten, Policy::new("gcra", Quota::per_day(100))]);
        for (range, granted) in [([1, 7], 7), ([4, 9], 0), ([2, 9], 3), ([1, 9], 0)] {
            let answer = script.ask(NOW, range, "take").await;
            assert_eq!(
                (answer.admitted, answer.granted),
                (granted > 0, granted),
                "{kind}"
            );
        }
    }
}

#[tokio::test]
async fn a_shadow_counts_and_does_not_refuse() {
    let server = Server::shared();
    let admin = server.admin().await;
    for kind in ["gcra", "log", "ring", "calendar"] {
        let mut shadow = Policy::new(kind, Quota::per_day(2));
        shadow.shadow = true;
        let script = Script::new(&admin, [shadow, Policy::new("log", Quota::per_day(4))]);
        let mut seen = Vec::new();
        for _ in 0..5 {
            let answer = script.take(NOW, 1).await;
            seen.push((answer.admitted, answer.policies[0][0] == 1));
        }
        let expected = [
            (true, true),
            (true, true),
            (true, false),
            (true, false),
            (false, false),
        ];
        assert_eq!(seen, expected, "{kind}");
    }
}

#[tokio::test]
async fn a_refund_is_for_what_is_still_counted() {
    let server = Server::shared();
    let admin = server.admin().await;
    for kind in ["gcra", "log", "ring", "calendar"] {
        let script = Script::new(&admin, [Policy::new(kind, Quota::per_minute(10))]);
        assert!(script.take(NOW, 10).await.admitted);
        assert!(!script.take(NOW, 4).await.admitted);
        script.refund(NOW, 4, NOW + 1).await;
        assert!(!script.take(NOW, 5).await.admitted, "{kind}");
        assert!(script.take(NOW, 4).await.admitted, "{kind}");
        // It is back by itself already.
        script.refund(NOW, 4, NOW).await;
        assert!(!script.take(NOW, 1).await.admitted, "{kind}");
        // More than was used is all that was used.
        script.refund(NOW, 1_000_000, 0).await;
        assert!(script.take(NOW, 10).await.admitted, "{kind}");
        assert!(!script.take(NOW, 1).await.admitted, "{kind}");
    }
}

#[tokio::test]
async fn another_window_forgets_nothing_that_counts() {
    let server = Server::shared();
    let admin = server.admin().await;
    let minute = Policy::new("ring", Quota::per_minute(10));
    let script = Script::new(&admin, [minute]);
    assert!(script.take(NOW, 10).await.admitted);
    let key = script.policies[0].1.clone();
    for quota in [
        Quota::per_hour(10),
        Quota::per_second(10),
        Quota::per_day(3),
    ] {
        let policies = vec![(Policy::new("ring", quota), key.clone())];
        let other = Script {
            admin: &admin,
            policies,
        };
        assert!(!other.fits(NOW, 1).await, "{quota}");
    }
}

impl<'a> Script<'a> {
    /// The same key under other numbers.
    fn with(&self, policy: Policy) -> Script<'a> {
        let key = self.policies[0].1.clone();
        Script {
            admin: self.admin,
            policies: vec![(policy, key)],
        }
    }
}

/// Looks under one set of numbers used to cut, or to begin anew, what was used under others.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_denial_under_other_numbers_lasts_as_long_as_it_says_and_forgets_nothing() {
    let server = Server::shared();
    let admin = server.admin().await;
    let kind = prop_oneof![Just("gcra"), Just("log"), Just("ring"), Just("calendar")];
    let quota = || {
        (1..200_u32, 1..5_000_000_u64, 1..200_u32).prop_map(|(permits, window, burst)| {
            Quota::new(permits, Duration::from_micros(window)).burst(burst)
        })
    };
    let fractions = (0..1_001_u64, 0..1_001_u64, 1..1_001_u64);
    check(
        150,
        (kind, quota(), quota(), fractions),
        async |(kind, before, after, (used, pause, cost))| {
            let (old, new) = (Policy::named(kind, before), Policy::named(kind, after));
            let (had, has) = (old.limit(), new.limit());
            let script = Script::new(&admin, [old]);
            let used = (had * used).div_ceil(1_000);
            prop_assert!(script.take(NOW, used).await.admitted);
            let other = script.with(new);
            // At once each of the used permits counts; on the calendar, if it is in the window.
            let answer = other.ask(NOW, [0, 0], "look").await;
            let level = answer.policies[0][1] as u64;
            let level = if kind == "gcra" {
                level.div_ceil(other.policies[0].0.numbers[0])
            } else {
                level
            };
            let begins = |quota| NOW - NOW % micros(quota);
            if kind != "calendar" || begins(after) <= begins(before) {
                prop_assert_eq!(level.min(has), used.min(has));
            }

            let now = NOW + micros(before) * pause / 1_000;
            let cost = (has * cost).div_ceil(1_000);
            let answer = other.take(now, cost).await;
            if !answer.admitted {
                let [_, level, wait, ..] = answer.policies[0];
                let wait = match kind {
                    "gcra" => after.rate().wait(level as u64, cost).unwrap(),
                    _ => wait as u64,
                };
                prop_assert!(
                    other.fits(now + wait, cost).await,
                    "{} {} {} {}",
                    kind,
                    before,
                    after,
                    wait
                );
            }
            Ok(())
        },
    );
}

/// What the slower numbers say is owed is not cut by a look under the faster ones, nor the other way round.
#[tokio::test]
async fn a_look_under_numbers_that_come_back_later_stores_nothing() {
    let server = Server::shared();
    let admin = server.admin().await;
    for kind in ["gcra", "ring", "calendar"] {
        let script = Script::new(&admin, [Policy::named(kind, Quota::per_minute(50))]);
        assert!(script.take(NOW, 20).await.admitted);
        let stored = script.stored().await;
        for quota in [Quota::per_hour(5), Quota::per_minute(5), Quota::per_day(21)] {
            let other = script.with(Policy::named(kind, quota));
            assert!(!other.take(NOW, 5).await.admitted, "{kind}");
            assert_eq!(script.stored().await, stored, "{kind}");
        }
        // Permits come back from what is stored, and not from what these numbers can hold of it.
        script
            .with(Policy::named(kind, Quota::per_minute(5)))
            .refund(NOW, 3, 0)
            .await;
        assert!(script.fits(NOW, 33).await, "{kind}");
        assert!(!script.fits(NOW, 34).await, "{kind}");
    }
}

/// A clock that is set back while the numbers change.
#[tokio::test]
async fn a_clock_that_is_set_back_heals_under_other_numbers() {
    let server = Server::shared();
    let admin = server.admin().await;
    let hour = 3_600_000_000;
    for kind in ["gcra", "log", "ring", "calendar"] {
        for quota in [
            Quota::per_minute(3),
            Quota::per_second(3),
            Quota::new(3, Duration::from_secs(120)),
        ] {
            let script = Script::new(&admin, [Policy::named(kind, Quota::per_minute(10))]);
            assert!(script.take(NOW + hour, 10).await.admitted);
            let other = script.with(Policy::named(kind, quota));
            for later in 0..3 {
                assert!(!other.take(NOW + later, 1).await.admitted, "{kind} {quota}");
            }
            assert!(
                other.take(NOW + 123_000_000, 3).await.admitted,
                "{kind} {quota}"
            );
        }
    }
}

/// What is in the place of the numbers and is none counts as nothing that can be read, and harms nobody.
#[tokio::test]
async fn marks_that_are_none() {
    let server = Server::shared();
    let admin = server.admin().await;
    for rest in [
        "0",
        "00",
        "09999",
        "0000000",
        "0001010110",
        "099999123",
        "00101100",
        "0123456789012345678901234567890",
    ] {
        let script = Script::new(&admin, [Policy::named("gcra", Quota::per_minute(10))]);
        let value = format!("{}:{rest}", NOW + 6_000_000);
        let _: String = command(&admin, "SET", &[&script.policies[0].1, &value]).await;
        let answer = script.take(NOW, 1).await;
        assert!(answer.granted <= 1, "{rest}: {answer:?}");
        let answer = script.take(NOW + 60_000_000, 10).await;
        assert!(answer.admitted, "{rest}: {answer:?}");
    }
}

/// A shorter lease of the same name used to cut the places of a longer one short.
#[tokio::test]
async fn a_place_keeps_the_lease_that_it_was_taken_with() {
    let server = Server::shared();
    let admin = server.admin().await;
    let places = |lease: u64| Policy {
        kind: "places",
        numbers: [2, lease, 0],
        mark: Some(format!("abc:{lease:x}:{lease}")),
        shadow: false,
    };
    let long = Script::new(&admin, [places(60_000_000)]);
    assert!(long.take(NOW, 1).await.admitted);
    let short = long.with(places(1_000_000));
    assert!(short.take(NOW, 1).await.admitted);
    assert!(!short.fits(NOW, 1).await);
    // The short one is over, the long one is not.
    for later in [1_000_000, 59_999_999] {
        assert_eq!(
            short.ask(NOW + later, [1, 1], "look").await.policies[0][1],
            1
        );
    }
    assert_eq!(
        short.ask(NOW + 60_000_000, [1, 1], "look").await.policies[0][1],
        0
    );
    // From a clock that was set back: each for as long as its own lease.
    assert!(long.take(NOW + 3_600_000_000, 1).await.admitted);
    assert_eq!(short.ask(NOW, [1, 1], "look").await.policies[0][1], 1);
    assert_eq!(
        short.ask(NOW + 59_999_999, [1, 1], "look").await.policies[0][1],
        1
    );
    assert_eq!(
        short.ask(NOW + 60_000_000, [1, 1], "look").await.policies[0][1],
        0
    );
}

/// In 2025, and on the boundary of every window that is tested.
const NOW: u64 = 1_750_032_000_000_000;
