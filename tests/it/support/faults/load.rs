//! A load of many visitors, and what came of their requests.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinHandle};
use tower_fred::{Redis, redis::Health};

use super::{
    super::patience::patiently,
    shop::{BURST, Kind, Outcome, RATE, Shop, Visitor},
};

/// Visitors who send requests at a steady rate until [`end`](Self::end), or until this is dropped.
pub struct Load {
    log: Arc<Log>,
    visitors: Vec<JoinHandle<Visitor>>,
    begun: Instant,
}

/// One request.
#[derive(Clone)]
#[allow(dead_code, reason = "the fault run measures what the tests do not")]
pub struct Sample {
    pub begun: Instant,
    pub took: Duration,
    pub kind: Kind,
    pub outcome: Outcome,
    /// The health of the handle before and after.
    pub health: (Health, Health),
    /// The id of the visitor's session, if there is one.
    pub session: Arc<str>,
    /// How much later than intended the visitor ran.
    pub late: Duration,
}

struct Log {
    redis: Redis,
    samples: Mutex<Vec<Sample>>,
    count: watch::Sender<usize>,
    over: watch::Sender<bool>,
}

impl Load {
    /// Starts `visitors` of all kinds. Each pauses after each answer.
    pub fn start(redis: &Redis, visitors: usize, pause: Duration) -> Self {
        let shop = Shop::new(redis);
        let log = Arc::new(Log {
            redis: redis.clone(),
            samples: Mutex::default(),
            count: watch::Sender::new(0),
            over: watch::Sender::new(false),
        });
        let visitors = (0..visitors)
            .map(|number| {
                let kind = KINDS[number % KINDS.len()];
                let visitor = Visitor::new(shop.clone(), kind, number);
                tokio::spawn(visit(visitor, Arc::clone(&log), pause))
            })
            .collect();
        Self {
            log,
            visitors,
            begun: Instant::now(),
        }
    }

    /// The requests that ended since the last time.
    pub fn take(&self) -> Vec<Sample> {
        std::mem::take(&mut *self.log.samples())
    }

    /// Whether `key` belongs to a session that a visitor has used since the last [`take`](Self::take).
    pub fn comes_with(&self, key: &str) -> bool {
        let samples = self.log.samples();
        let mut sessions = samples.iter().map(|sample| &*sample.session);
        sessions.any(|session| !session.is_empty() && key.contains(session))
    }

    /// Waits until `wanted` is true of the requests that ended since the last [`take`](Self::take).
    pub async fn until(&self, wanted: impl Fn(&[Sample]) -> bool) {
        let mut count = self.log.count.subscribe();
        patiently("requests as wanted", async {
            while !wanted(&self.log.samples()) {
                count.changed().await.expect("visitors");
            }
        })
        .await;
    }

    /// Waits for the last answers. True when no limit admitted more than it may.
    ///
    /// A limit that decides in this process without Redis has a second budget here. Each loss of Redis's data starts the
    /// budget there again.
    pub async fn end(mut self, losses: u32) -> bool {
        self.log.over.send_replace(true);
        let mut kept = true;
        for visitor in std::mem::take(&mut self.visitors) {
            let visitor = visitor.await.expect("a visitor who does not panic");
            let earned = self.begun.elapsed().as_secs_f64() * f64::from(RATE);
            let bursts = f64::from(BURST) * f64::from(1 + losses);
            let budget = match visitor.kind {
                Kind::Limited => earned + bursts + earned + f64::from(BURST),
                _ => earned + bursts,
            };
            kept &= visitor.admitted() as f64 <= budget;
        }
        kept
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for visitor in &self.visitors {
            visitor.abort();
        }
    }
}

impl Log {
    fn samples(&self) -> std::sync::MutexGuard<'_, Vec<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn visit(mut visitor: Visitor, log: Arc<Log>, pause: Duration) -> Visitor {
    let mut over = log.over.subscribe();
    let mut due = Instant::now();
    while !*over.borrow() {
        let late = due.elapsed();
        let (begun, before) = (Instant::now(), log.redis.health());
        let (outcome, took) = visitor.ask().await;
        log.samples().push(Sample {
            begun,
            took,
            kind: visitor.kind,
            outcome,
            health: (before, log.redis.health()),
            session: Arc::clone(visitor.session()),
            late,
        });
        log.count.send_modify(|count| *count += 1);
        due = Instant::now() + pause;
        // This pause makes the rate of the load.
        let _ = tokio::time::timeout(pause, over.changed()).await;
    }
    visitor
}

const KINDS: [Kind; 8] = [
    Kind::Visit,
    Kind::Page,
    Kind::Limited,
    Kind::Strict,
    Kind::Visit,
    Kind::Page,
    Kind::Visit,
    Kind::Bare,
];
