//! The requests of a run, and what can be counted in them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tower_fred::redis::Health;

use crate::support::{
    load::Sample,
    shop::{Kind, Outcome},
};

/// All requests of a run, and the times of its phases.
pub(crate) struct Observed<'a> {
    pub(crate) samples: &'a [Sample],
    pub(crate) warm: Instant,
    pub(crate) begun: Instant,
    pub(crate) back: Instant,
}

impl Observed<'_> {
    /// The requests that the fault could harm.
    fn all(&self) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(|sample| sample.begun + sample.took >= self.begun)
    }

    pub(crate) fn layers(&self) -> impl Iterator<Item = &Sample> {
        self.all().filter(|sample| sample.kind != Kind::Bare)
    }

    pub(crate) fn count(&self, kind: Kind, outcome: Outcome) -> usize {
        self.all()
            .filter(|sample| sample.kind == kind && sample.outcome == outcome)
            .count()
    }

    pub(crate) fn wrong(&self) -> usize {
        let wrong =
            |sample: &&Sample| matches!(sample.outcome, Outcome::Wrong | Outcome::CookieTouched);
        self.all().filter(wrong).count()
    }

    pub(crate) fn limited_locally(&self) -> usize {
        self.all()
            .filter(|sample| sample.kind == Kind::Limited)
            .filter(|sample| is_open(sample) || sample.took >= DEADLINE)
            .count()
    }

    pub(crate) fn slowest(&self, wanted: impl Fn(Kind) -> bool) -> Duration {
        let times = self
            .all()
            .filter(|sample| wanted(sample.kind))
            .map(|sample| sample.took);
        times.max().unwrap_or_default()
    }

    /// The kind of the slowest request with one command.
    pub(crate) fn slowest_kind(&self) -> Option<Kind> {
        let samples = self.all().filter(|sample| has_one_command(sample.kind));
        let slowest = samples.max_by_key(|sample| sample.took);
        slowest.map(|sample| sample.kind)
    }

    pub(crate) fn stall(&self) -> Duration {
        let late = self
            .all()
            .map(|sample| sample.late)
            .max()
            .unwrap_or_default();
        late.max(self.slowest(|kind| kind == Kind::Bare))
    }

    /// The p99 of the requests while the breaker was open, and of the bare handler; `None` when there are too few requests.
    pub(crate) fn open(&self) -> Option<(Duration, Duration)> {
        let (layers, bare): (Vec<_>, Vec<_>) = self
            .all()
            .filter(|sample| is_open(sample))
            .partition(|sample| sample.kind != Kind::Bare);
        let p99 = |samples: Vec<&Sample>| percentile(&times(samples.into_iter()), 99);
        (layers.len() >= 100).then(|| (p99(layers), p99(bare)))
    }

    /// The rate of each shard that `shard` tells during the fault, as a part of its rate before: the least.
    pub(crate) fn healthy(&self, shard: impl Fn(&Sample) -> Option<usize>) -> Option<f64> {
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

pub(crate) fn has_one_command(kind: Kind) -> bool {
    matches!(kind, Kind::Page | Kind::Limited | Kind::Strict)
}

fn is_open(sample: &Sample) -> bool {
    sample.health == (Health::Down, Health::Down)
}

pub(crate) fn times<'a>(samples: impl Iterator<Item = &'a Sample>) -> Vec<Duration> {
    let mut times: Vec<Duration> = samples.map(|sample| sample.took).collect();
    times.sort_unstable();
    times
}

pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or_default()
}

/// How long a command may take.
pub(crate) const DEADLINE: Duration = Duration::from_millis(250);
/// The shortest time in which served requests are counted.
pub(crate) const LEAST_SPAN: Duration = Duration::from_secs(1);
