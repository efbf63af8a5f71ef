//! One row of the table: what a fault did to the requests, and which promises were not kept.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    logs::Lines,
    observed::{LEAST_SPAN, Observed, has_one_command, percentile, times},
    process::Usage,
    support::{
        load::Sample,
        shop::{Kind, Outcome},
    },
};

/// What a fault is allowed to do.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) name: &'static str,
    /// How often the server loses the counts of the limits.
    pub(crate) losses: u32,
    pub(crate) loses_sessions: bool,
    /// Whether the last writes may be lost.
    pub(crate) loses_writes: bool,
    /// Whether no request may fail at all.
    pub(crate) is_harmless: bool,
    /// How often the handle may count Redis as down, where that is promised.
    pub(crate) most_downs: Option<usize>,
}

/// One row.
pub(crate) struct Row {
    pub(crate) expected: Expected,
    /// While the fault lasted.
    pub(crate) requests: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// The slowest request with one command, and with two.
    pub(crate) slowest: [Duration; 2],
    /// Of which layer the slowest request with one command was.
    pub(crate) slowest_kind: Option<Kind>,
    /// By how much the machine delayed a thread that does no work.
    pub(crate) held_up: Duration,
    /// By how much the bare handler or the beginning of a request was delayed, although they do not need Redis.
    pub(crate) stall: Duration,
    /// p99 of the requests while the breaker was open, and of the bare handler in the same time.
    pub(crate) open: Option<(Duration, Duration)>,
    pub(crate) bypassed: usize,
    pub(crate) limited_locally: usize,
    pub(crate) limits_refused: usize,
    pub(crate) sessions_refused: usize,
    pub(crate) sessions_lost: usize,
    pub(crate) writes_lost: usize,
    pub(crate) wrong: usize,
    pub(crate) statuses: BTreeMap<u16, usize>,
    /// From the end of the fault to the last request that failed.
    pub(crate) recovery: Duration,
    /// The rate of the servers that the fault did not harm, as a part of their rate before: the least of them.
    pub(crate) healthy: Option<f64>,
    pub(crate) limits_kept: bool,
    /// How often the handle began to count Redis as down.
    pub(crate) downs: usize,
    /// The log lines, and the time in which they came.
    pub(crate) lines: Lines,
    pub(crate) span: Duration,
    pub(crate) panics: usize,
    /// Broken promises that others found.
    pub(crate) more: Vec<String>,
    pub(crate) usage: (Usage, Usage),
}

impl Row {
    pub(crate) fn new(
        expected: Expected,
        observed: &Observed<'_>,
        shard: impl Fn(&Sample) -> Option<usize>,
    ) -> Self {
        let during = times(
            observed
                .layers()
                .filter(|sample| sample.begun <= observed.back),
        );
        let last_failure = observed
            .layers()
            .filter(|sample| sample.outcome.is_failure())
            .map(|sample| sample.begun)
            .max();
        let mut statuses = BTreeMap::new();
        for sample in observed.layers() {
            if let Outcome::Status(status) = sample.outcome {
                *statuses.entry(status).or_default() += 1;
            }
        }
        let usage = Usage::now();
        Self {
            expected,
            requests: during.len(),
            p50: percentile(&during, 50),
            p99: percentile(&during, 99),
            slowest: [
                observed.slowest(has_one_command),
                observed.slowest(|kind| kind == Kind::Visit),
            ],
            slowest_kind: observed.slowest_kind(),
            held_up: Duration::ZERO,
            stall: observed.stall(),
            open: observed.open(),
            bypassed: observed.count(Kind::Page, Outcome::Bypassed),
            limited_locally: observed.limited_locally(),
            limits_refused: observed.count(Kind::Strict, Outcome::Unavailable),
            sessions_refused: observed.count(Kind::Visit, Outcome::Unavailable),
            sessions_lost: observed.count(Kind::Visit, Outcome::SessionLost),
            writes_lost: observed.count(Kind::Visit, Outcome::WriteLost),
            wrong: observed.wrong(),
            statuses,
            recovery: last_failure.map_or(Duration::ZERO, |last| {
                last.saturating_duration_since(observed.back)
            }),
            healthy: observed.healthy(shard),
            limits_kept: true,
            downs: 0,
            lines: Lines::default(),
            span: Duration::ZERO,
            panics: 0,
            more: Vec::new(),
            usage: (usage, usage),
        }
    }

    /// The promises that were not kept.
    pub(crate) fn misses(&self) -> Vec<String> {
        let mut misses = Misses::default();
        self.check_times(&mut misses);
        self.check_outcomes(&mut misses);
        self.check_usage(&mut misses);
        misses.0.extend_from_slice(&self.more);
        misses.0
    }

    fn check_times(&self, misses: &mut Misses) {
        for (commands, slowest) in (1u32..).zip(self.slowest) {
            let limit = FENCE * commands + self.held_up + TICK;
            let kind = match commands {
                1 => self.slowest_kind.unwrap_or(Kind::Page),
                _ => Kind::Visit,
            };
            misses.add(slowest > limit, || {
                format!("slowest {kind:?} {slowest:.0?} > {limit:.0?}")
            });
        }
        let stall = self.stall;
        misses.add(stall > self.held_up + STALL, || {
            format!("requests without Redis were delayed by {stall:.0?}")
        });
        if let Some((open, bare)) = self.open {
            let over = open.saturating_sub(bare);
            misses.add(over >= Duration::from_millis(1), || {
                format!("{over:.2?} over bare while open")
            });
        }
        let recovery = self.recovery;
        misses.add(recovery > Duration::from_secs(1), || {
            format!("recovery {recovery:.0?}")
        });
        if let Some(healthy) = self.healthy {
            let percent = healthy * 100.0;
            // The requests that were not sent while the machine was delayed.
            let lost = self.held_up.as_secs_f64() / LEAST_SPAN.as_secs_f64();
            misses.add(healthy + lost < 0.9, || {
                format!("other shards served {percent:.0} %")
            });
        }
    }

    fn check_outcomes(&self, misses: &mut Misses) {
        let expected = &self.expected;
        let (lost, writes, wrong) = (self.sessions_lost, self.writes_lost, self.wrong);
        misses.add(lost > 0 && !expected.loses_sessions, || {
            format!("{lost} sessions lost")
        });
        misses.add(writes > 0 && !expected.loses_writes, || {
            format!("{writes} writes lost")
        });
        misses.add(wrong > 0, || format!("{wrong} wrong answers"));
        let statuses = &self.statuses;
        misses.add(!statuses.is_empty(), || format!("status {statuses:?}"));
        let refused = self.bypassed + self.limits_refused + self.sessions_refused;
        misses.add(expected.is_harmless && refused > 0, || {
            format!("{refused} failures")
        });
        misses.add(!self.limits_kept, || "a limit was exceeded".into());
        let downs = self.downs;
        let too_often = expected.most_downs.is_some_and(|most| downs > most);
        misses.add(too_often, || format!("{downs} times down"));
    }

    fn check_usage(&self, misses: &mut Misses) {
        misses.0.extend(self.lines.too_often(self.span));
        misses.add(self.panics > 0, || format!("{} panics", self.panics));
        let (before, after) = self.usage;
        let grown = after.memory.saturating_sub(before.memory) / 1024;
        misses.add(grown > 16, || format!("memory grew by {grown} MiB"));
        for (what, before, after) in [
            ("tasks", before.tasks, after.tasks),
            ("files", before.files, after.files),
        ] {
            misses.add(after > before + 8, || format!("{what} {before} -> {after}"));
        }
    }
}

#[derive(Default)]
struct Misses(Vec<String>);

impl Misses {
    fn add(&mut self, broken: bool, what: impl FnOnce() -> String) {
        if broken {
            self.0.push(what());
        }
    }
}

/// The deadline and a tenth: how long one command may take.
const FENCE: Duration = Duration::from_millis(275);
/// To harm a server blocks a worker of the runtime for a moment, and two cores are shared with six servers.
const STALL: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(5);
