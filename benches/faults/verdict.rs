//! What the visitors saw, and whether that is what was promised.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tower_fred::redis::Health;

use crate::{
    process::Usage,
    run::Expected,
    support::{
        load::Sample,
        shop::{Kind, Outcome},
    },
};

/// All requests of a run, and when what happened.
pub(crate) struct Seen<'a> {
    pub(crate) samples: &'a [Sample],
    pub(crate) warm: Instant,
    pub(crate) begun: Instant,
    pub(crate) back: Instant,
}

/// One line.
pub(crate) struct Row {
    pub(crate) expected: Expected,
    /// While the fault lasted.
    pub(crate) requests: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Of those with one command for Redis, and of those with two.
    pub(crate) slowest: [Duration; 2],
    /// How long the machine held up a thread that has nothing to do with any of this.
    pub(crate) held_up: Duration,
    /// How long what does not touch Redis was held up: the bare handler, or the beginning of a request.
    pub(crate) stall: Duration,
    /// p99 of the requests while the breaker was open, and of the bare handler at the same time.
    pub(crate) open: Option<(Duration, Duration)>,
    pub(crate) bypassed: usize,
    pub(crate) limited_locally: usize,
    pub(crate) limits_refused: usize,
    pub(crate) sessions_refused: usize,
    pub(crate) sessions_lost: usize,
    pub(crate) writes_lost: usize,
    pub(crate) wrong: usize,
    pub(crate) statuses: BTreeMap<u16, usize>,
    /// From the moment that Redis was back to the last request that failed.
    pub(crate) recovery: Duration,
    /// What the servers that the fault left alone served, as a part of what they served before: the least of them.
    pub(crate) healthy: Option<f64>,
    pub(crate) limits_kept: bool,
    pub(crate) panics: usize,
    pub(crate) usage: (Usage, Usage),
}

impl Row {
    pub(crate) fn new(
        expected: Expected,
        seen: &Seen<'_>,
        shard: impl Fn(&Sample) -> Option<usize>,
    ) -> Self {
        let during = times(seen.layers().filter(|sample| sample.begun <= seen.back));
        let last_failure = seen
            .layers()
            .filter(|sample| sample.outcome.is_failure())
            .map(|sample| sample.begun)
            .max();
        let mut statuses = BTreeMap::new();
        for sample in seen.layers() {
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
                seen.slowest(|kind| matches!(kind, Kind::Page | Kind::Limited | Kind::Strict)),
                seen.slowest(|kind| kind == Kind::Visit),
            ],
            held_up: Duration::ZERO,
            stall: seen.stall(),
            open: seen.open(),
            bypassed: seen.count(Kind::Page, Outcome::Bypassed),
            limited_locally: seen.limited_locally(),
            limits_refused: seen.count(Kind::Strict, Outcome::Unavailable),
            sessions_refused: seen.count(Kind::Visit, Outcome::Unavailable),
            sessions_lost: seen.count(Kind::Visit, Outcome::SessionLost),
            writes_lost: seen.count(Kind::Visit, Outcome::WriteLost),
            wrong: seen.wrong(),
            statuses,
            recovery: last_failure.map_or(Duration::ZERO, |last| {
                last.saturating_duration_since(seen.back)
            }),
            healthy: seen.healthy(shard),
            limits_kept: true,
            panics: 0,
            usage: (usage, usage),
        }
    }

    /// The promises that were not kept.
    pub(crate) fn misses(&self) -> Vec<String> {
        let mut misses = Misses::default();
        self.check_times(&mut misses);
        self.check_outcomes(&mut misses);
        self.check_usage(&mut misses);
        misses.0
    }

    fn check_times(&self, misses: &mut Misses) {
        for (commands, slowest) in (1u32..).zip(self.slowest) {
            let limit = FENCE * commands + self.held_up + TICK;
            misses.add(slowest > limit, || {
                format!("slowest {slowest:.0?} > {limit:.0?}")
            });
        }
        let stall = self.stall;
        misses.add(stall > self.held_up + STALL, || {
            format!("all was held up for {stall:.0?}")
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
            // What was not asked for while the machine stood still.
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
    }

    fn check_usage(&self, misses: &mut Misses) {
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

impl Seen<'_> {
    /// Those that the fault could harm.
    fn all(&self) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(|sample| sample.begun + sample.took >= self.begun)
    }

    fn layers(&self) -> impl Iterator<Item = &Sample> {
        self.all().filter(|sample| sample.kind != Kind::Bare)
    }

    fn count(&self, kind: Kind, outcome: Outcome) -> usize {
        self.all()
            .filter(|sample| sample.kind == kind && sample.outcome == outcome)
            .count()
    }

    fn wrong(&self) -> usize {
        let wrong =
            |sample: &&Sample| matches!(sample.outcome, Outcome::Wrong | Outcome::CookieTouched);
        self.all().filter(wrong).count()
    }

    fn limited_locally(&self) -> usize {
        self.all()
            .filter(|sample| sample.kind == Kind::Limited)
            .filter(|sample| is_open(sample) || sample.took >= DEADLINE)
            .count()
    }

    fn slowest(&self, wanted: impl Fn(Kind) -> bool) -> Duration {
        let times = self
            .all()
            .filter(|sample| wanted(sample.kind))
            .map(|sample| sample.took);
        times.max().unwrap_or_default()
    }

    fn stall(&self) -> Duration {
        let late = self
            .all()
            .map(|sample| sample.late)
            .max()
            .unwrap_or_default();
        late.max(self.slowest(|kind| kind == Kind::Bare))
    }

    /// Nothing when there were too few requests for a 99th percentile.
    fn open(&self) -> Option<(Duration, Duration)> {
        let (layers, bare): (Vec<_>, Vec<_>) = self
            .all()
            .filter(|sample| is_open(sample))
            .partition(|sample| sample.kind != Kind::Bare);
        let p99 = |samples: Vec<&Sample>| percentile(&times(samples.into_iter()), 99);
        (layers.len() >= 100).then(|| (p99(layers), p99(bare)))
    }

    /// What the shards that `shard` tells served while the fault lasted, as a part of what they served before: the least.
    fn healthy(&self, shard: impl Fn(&Sample) -> Option<usize>) -> Option<f64> {
        let mut served: BTreeMap<usize, [f64; 2]> = BTreeMap::new();
        // Some faults are over before anything can be counted.
        let end_of_fault = self.back.max(self.begun + LEAST_SPAN);
        let spans = [self.begun - self.warm, end_of_fault - self.begun];
        for sample in self
            .samples
            .iter()
            .filter(|sample| !sample.outcome.is_failure())
        {
            let end = sample.begun + sample.took;
            if end > end_of_fault {
                continue;
            }
            if let Some(shard) = shard(sample) {
                let phase = usize::from(end >= self.begun);
                served.entry(shard).or_default()[phase] += 1.0 / spans[phase].as_secs_f64();
            }
        }
        let parts = served.values().map(|[before, during]| during / before);
        parts.min_by(f64::total_cmp)
    }
}

fn is_open(sample: &Sample) -> bool {
    sample.health == (Health::Down, Health::Down)
}

fn times<'a>(samples: impl Iterator<Item = &'a Sample>) -> Vec<Duration> {
    let mut times: Vec<Duration> = samples.map(|sample| sample.took).collect();
    times.sort_unstable();
    times
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or_default()
}

pub(crate) const DEADLINE: Duration = Duration::from_millis(250);
/// The deadline and a tenth: how long one command may take.
const FENCE: Duration = Duration::from_millis(275);
/// Harming a server blocks a worker of the runtime for a moment, and two cores are shared with six servers.
const STALL: Duration = Duration::from_millis(100);
/// Of the time in which served requests are counted.
const LEAST_SPAN: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(5);
