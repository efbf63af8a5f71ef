//! Runs the scripts at times that the test chooses.

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tower_fred::fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{CustomCommand, Value},
};

use super::{
    gcra::{PaidAt, Rate},
    quota::Quota,
};
use crate::{rate_limit::command, support::server::namespace};

/// Some policies, each on a key of its own, at times of the test's choosing.
pub(super) struct Script<'a> {
    pub(super) admin: &'a Client,
    pub(super) policies: Vec<(Policy, String)>,
}

/// An algorithm with what the scripts take.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) kind: &'static str,
    pub(super) numbers: [u64; 3],
    /// Of a budget that may get other numbers: instead of the last one.
    pub(super) mark: Option<String>,
    pub(super) shadow: bool,
}

/// What a script says: whether it admits, and of each policy whether it does, its level, and the waits until the request
/// fits, until there is one more permit and until there are all.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) admitted: bool,
    pub(super) granted: u64,
    pub(super) policies: Vec<[i64; 5]>,
}

impl<'a> Script<'a> {
    pub(super) fn new(admin: &'a Client, policies: impl IntoIterator<Item = Policy>) -> Self {
        let own = |policy| (policy, namespace());
        let policies = policies.into_iter().map(own).collect();
        Self { admin, policies }
    }

    /// The same key under other numbers.
    pub(super) fn with(&self, policy: Policy) -> Script<'a> {
        let key = self.policies[0].1.clone();
        Script {
            admin: self.admin,
            policies: vec![(policy, key)],
        }
    }

    /// Runs one of the scripts; `modes` has a word for each policy.
    pub(super) async fn run(
        &self,
        text: &str,
        head: [String; 3],
        modes: &[String],
        now: u64,
    ) -> Vec<i64> {
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

    /// Where a single policy has a script of its own, that one decides, and has to say the same as the general one.
    pub(super) async fn ask(&self, now: u64, [least, most]: [u64; 2], mode: &str) -> Answer {
        if self.policies.len() > 1 || least != most || least == 0 || mode != "take" {
            return self.ask_in_general(now, [least, most], mode).await;
        }
        let (policy, key) = &self.policies[0];
        let copy = format!("{key}:copy");
        let _: i64 = command(self.admin, "COPY", &[key, &copy, "REPLACE"]).await;
        let general = Script {
            admin: self.admin,
            policies: vec![(policy.clone(), copy.clone())],
        };
        let expected = general.ask_in_general(now, [least, most], mode).await;
        let answer = self.ask_single(now, least).await;
        assert_eq!(answer, expected, "{policy:?} {least}");
        let _: i64 = command(self.admin, "DEL", &[&copy]).await;
        answer
    }

    /// The script for the only policy.
    pub(super) async fn ask_single(&self, now: u64, cost: u64) -> Answer {
        let (policy, key) = &self.policies[0];
        let mut text = single(policy.kind);
        for (old, new) in [
            ("redis.call('TIME')", "{ARGV[2], ARGV[3]}"),
            // The server would let keys go by its own clock.
            ("micros / 1000) + 1", "micros / 1000) + 4e12"),
            ("string.sub(text, 1, 13)", "'9999999999999'"),
            ("(ends - ends % 1000) / 1000", "9999999999999"),
        ] {
            assert!(text.matches(old).count() <= 1, "{old}");
            text = text.replace(old, new);
        }
        let mut argument = b"a proof.".to_vec();
        argument.extend(f64::INFINITY.to_le_bytes());
        let (head, mark) = policy.packed(cost);
        argument.extend(head);
        argument.extend(mark.bytes());
        let [seconds, micros] = [now / 1_000_000, now % 1_000_000].map(|number| number.to_string());
        let words: [&[u8]; 6] = [
            text.as_bytes(),
            b"1",
            key.as_bytes(),
            &argument,
            seconds.as_bytes(),
            micros.as_bytes(),
        ];
        let words: Vec<Value> = words.map(Value::from).into();
        let eval = CustomCommand::new_static("EVAL", None, false);
        let reply: Value = self.admin.custom(eval, words).await.expect("EVAL");
        let reply = reply.as_bytes().expect("bytes");
        assert!(reply.starts_with(b"a proof."));
        let numbers = reply[8..].chunks(8);
        let mut numbers: Vec<f64> = numbers
            .map(|eight| f64::from_le_bytes(eight.try_into().expect("eight")))
            .collect();
        numbers.resize(5, 0.0);
        assert_eq!(numbers[0], now as f64);
        let fits = numbers[1] >= 0.0;
        let level = if fits { numbers[1] } else { -1.0 - numbers[1] };
        let [wait, following, reset] = [2, 3, 4].map(|at| numbers[at] as i64);
        let admitted = fits || policy.shadow;
        Answer {
            admitted,
            granted: if admitted { cost } else { 0 },
            policies: vec![[fits.into(), level as i64, wait, following, reset]],
        }
    }

    async fn ask_in_general(&self, now: u64, [least, most]: [u64; 2], mode: &str) -> Answer {
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

    pub(super) async fn take(&self, now: u64, cost: u64) -> Answer {
        self.ask(now, [cost, cost], "take").await
    }

    pub(super) async fn fits(&self, now: u64, cost: u64) -> bool {
        self.ask(now, [cost, cost], "look").await.admitted
    }

    pub(super) async fn refund(&self, now: u64, permits: u64, over: u64) {
        let head = [permits.to_string(), "-".to_owned(), "-".to_owned()];
        let modes = vec![over.to_string(); self.policies.len()];
        self.run(&text(REFUND), head, &modes, now).await;
    }

    /// All that is stored, byte for byte.
    pub(super) async fn stored(&self) -> Vec<Option<tower_fred::fred::types::Value>> {
        let mut stored = Vec::new();
        for (_, key) in &self.policies {
            stored.push(command(self.admin, "DUMP", &[key]).await);
        }
        stored
    }

    pub(super) async fn paid_at(&self) -> Option<PaidAt> {
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
    pub(super) fn new(kind: &'static str, quota: Quota) -> Self {
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
    pub(super) fn named(kind: &'static str, quota: Quota) -> Self {
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

    /// The doubles and the text of a script for a single policy.
    pub(super) fn packed(&self, cost: u64) -> ([u8; 32], String) {
        let [a, b, c] = self.numbers;
        let mut head = [0; 32];
        for (place, number) in head.chunks_exact_mut(8).zip([cost, a, b, c]) {
            place.copy_from_slice(&(number as f64).to_le_bytes());
        }
        let text = match self.kind {
            "gcra" if self.mark.is_some() || b > 1 => {
                format!(":{}", self.mark.as_deref().unwrap_or_default())
            }
            "places" => self.mark.clone().unwrap_or("7".to_owned()),
            _ => String::new(),
        };
        (head, text)
    }

    pub(super) fn limit(&self) -> u64 {
        match self.kind {
            "gcra" => self.numbers[2] / self.numbers[0],
            _ => self.numbers[0],
        }
    }

    pub(super) fn rate(&self) -> Rate {
        let [permit, per_micro, capacity] = self.numbers;
        Rate {
            permit,
            per_micro,
            capacity,
        }
    }
}

pub(super) fn micros(quota: Quota) -> u64 {
    quota.window().as_nanos().div_ceil(1_000) as u64
}

/// Runs a property that needs the server.
pub(super) fn check<T: std::fmt::Debug, F: Future<Output = Result<(), TestCaseError>>>(
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

/// The files as the library puts them together.
pub(super) fn text(parts: &[&str]) -> String {
    parts.concat()
}

/// The script for a single policy with this algorithm, as the library puts it together.
fn single(kind: &str) -> String {
    macro_rules! script {
        ($file:literal) => {
            concat!(
                include_str!("../../../../src/rate_limit/script/lua/one/begin.lua"),
                include_str!(concat!("../../../../src/rate_limit/script/lua/one/", $file)),
                include_str!("../../../../src/rate_limit/script/lua/policies.lua"),
                include_str!(concat!("../../../../src/rate_limit/script/lua/", $file)),
                include_str!("../../../../src/rate_limit/script/lua/one/rest.lua"),
            )
        };
    }
    let text = match kind {
        "gcra" => script!("gcra.lua"),
        "log" => script!("log.lua"),
        "ring" => script!("ring.lua"),
        "calendar" => script!("calendar.lua"),
        _ => script!("places.lua"),
    };
    text.to_owned()
}

pub(super) const DECIDE: &[&str] = &[
    PRELUDE,
    ALGORITHMS,
    include_str!("../../../../src/rate_limit/script/lua/decide.lua"),
];

pub(super) const REFUND: &[&str] = &[
    PRELUDE,
    ALGORITHMS,
    include_str!("../../../../src/rate_limit/script/lua/refund.lua"),
];

pub(super) const PRELUDE: &str = include_str!("../../../../src/redis/script/lua/prelude.lua");

pub(super) const ALGORITHMS: &str = concat!(
    include_str!("../../../../src/rate_limit/script/lua/policies.lua"),
    include_str!("../../../../src/rate_limit/script/lua/gcra.lua"),
    include_str!("../../../../src/rate_limit/script/lua/log.lua"),
    include_str!("../../../../src/rate_limit/script/lua/ring.lua"),
    include_str!("../../../../src/rate_limit/script/lua/calendar.lua"),
    include_str!("../../../../src/rate_limit/script/lua/places.lua"),
);

/// In 2025, and on the boundary of every window that is tested.
pub(super) const NOW: u64 = 1_750_032_000_000_000;
