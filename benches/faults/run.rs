//! The run of one fault: a load before it, during it, and after it.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tower_fred::Redis;

use crate::{
    downs::Downs,
    logs::Lines,
    observed::Observed,
    process::{Usage, held_up, panics},
    row::{Expected, Row},
    support::load::{Load, Sample},
};

pub(crate) struct Run {
    load: Load,
    downs: Downs,
    usage: Usage,
    panics: usize,
    warm: Instant,
}

impl Run {
    pub(crate) async fn start(redis: &Redis) -> Self {
        let usage = Usage::now();
        let load = Load::start(redis, VISITORS, PAUSE);
        // Loads the scripts, opens the connections, begins the sessions.
        sleep(WARM_UP).await;
        load.take();
        let warm = Instant::now();
        sleep(WARM).await;
        Self {
            load,
            downs: Downs::watch(redis),
            usage,
            panics: panics(),
            warm,
        }
    }

    /// The time when the fault begins.
    pub(crate) fn mark(&self) -> Instant {
        held_up();
        Lines::take();
        Instant::now()
    }

    pub(crate) fn load(&self) -> &Load {
        &self.load
    }

    /// The fault has ended: goes on with the load for a while, and makes the row. `shard` tells the server of a request, if
    /// the fault did not harm that server.
    pub(crate) async fn finish(
        self,
        expected: Expected,
        begun: Instant,
        shard: impl Fn(&Sample) -> Option<usize>,
    ) -> Row {
        let back = Instant::now();
        sleep(AFTER).await;
        let samples = self.load.take();
        let (lines, span) = (Lines::take(), begun.elapsed());
        let limits_kept = self.load.end(expected.losses).await;
        // Time for the tasks of the last requests to end, before tasks are counted.
        sleep(Duration::from_millis(50)).await;
        let observed = Observed {
            samples: &samples,
            warm: self.warm,
            begun,
            back,
        };
        let mut row = Row::new(expected, &observed, shard);
        row.limits_kept = limits_kept;
        (row.lines, row.span) = (lines, span);
        row.downs = self.downs.count();
        row.held_up = held_up();
        row.panics = panics() - self.panics;
        drop(samples);
        row.usage = (self.usage, Usage::now());
        row
    }
}

const VISITORS: usize = 64;
/// Between an answer and the next request of a visitor: about three thousand requests a second in total.
const PAUSE: Duration = Duration::from_millis(20);
const WARM_UP: Duration = Duration::from_millis(300);
const WARM: Duration = Duration::from_millis(700);
const AFTER: Duration = Duration::from_millis(1800);
