//! Minutes of load on all layers with a fault every ten seconds: no promise is broken, no memory is lost, and no key stays.

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    downs::Downs,
    expected,
    logs::Lines,
    memos::Memos,
    observed::{DEADLINE, Observed},
    process::{Usage, held_up, panics},
    report,
    row::Row,
    support::{
        fault::{Fault, Rig},
        keys::without_end,
        load::Load,
    },
};

/// Runs for `SECONDS`; default 600. True when a promise was broken.
pub(crate) async fn soak() -> bool {
    let seconds = std::env::var("SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(600);
    let whole = Duration::from_secs(seconds);
    let soak = Soak::start().await;
    let begun = Instant::now();
    let mut memory = vec![Usage::now()];
    let (mut losses, mut rows, mut broken, mut endless) = (0, 0, 0, 0);
    let mut faults = Vec::new();
    report::head();
    while begun.elapsed() < whole {
        if faults.is_empty() {
            faults = shuffled();
        }
        let Some(fault) = faults.pop() else { break };
        let row = soak.suffer(fault, &mut memory).await;
        losses += fault.losses();
        rows += 1;
        broken += usize::from(report::line(&row));
        endless += soak.keys_without_end().await;
    }
    let is_steady = tell_memory(&memory);
    println!("keys without a time to live: {endless}");
    println!("faults with a broken promise: {broken} of {rows}");
    let is_kept = soak.load.end(losses).await;
    println!("limits: {}", if is_kept { "kept" } else { "exceeded" });
    let is_broken = broken > 0 || endless > 0 || !is_steady || !is_kept;
    report::foot(is_broken);
    is_broken
}

struct Soak {
    rig: Rig,
    load: Load,
    memos: Memos,
}

impl Soak {
    async fn start() -> Self {
        let rig = Rig::start(DEADLINE).await;
        let load = Load::start(&rig.redis, VISITORS, PAUSE);
        let memos = Memos::start(&rig.redis);
        // Loads the scripts, opens the connections, begins the sessions.
        sleep(WARM_UP).await;
        Self { rig, load, memos }
    }

    /// One fault, and the requests until the next one is due.
    async fn suffer(&self, fault: Fault, memory: &mut Vec<Usage>) -> Row {
        self.load.take();
        self.memos.take();
        held_up();
        Lines::take();
        let (downs, panicked) = (Downs::watch(&self.rig.redis), panics());
        let begun = Instant::now();
        self.rig.suffer(fault, sleep(hold(fault))).await;
        let back = Instant::now();
        let due = (begun + EVERY).max(back + AFTER);
        while Instant::now() < due {
            sleep(Duration::from_secs(1).min(due - Instant::now())).await;
            memory.push(Usage::now());
        }
        let samples = self.load.take();
        let observed = Observed {
            samples: &samples,
            warm: begun,
            begun,
            back,
        };
        let mut row = Row::new(expected(fault), &observed, |_| None);
        (row.lines, row.span) = (Lines::take(), begun.elapsed());
        (row.held_up, row.downs) = (held_up(), downs.count());
        row.panics = panics() - panicked;
        row.more = self.memos.take().misses(row.held_up);
        row
    }

    async fn keys_without_end(&self) -> usize {
        without_end(self.rig.admin(), self.rig.redis.namespace()).await
    }
}

/// All faults, each once, in an order that nobody knows before.
fn shuffled() -> Vec<Fault> {
    let random = RandomState::new();
    let mut faults = Fault::ALL.to_vec();
    faults.sort_by_cached_key(|fault| random.hash_one(*fault as usize));
    faults
}

/// Short and long ones: 0.3 to 3 seconds. Some last until they are over.
fn hold(fault: Fault) -> Duration {
    match fault {
        Fault::Loading => Duration::ZERO,
        _ => Duration::from_millis(300 + RandomState::new().hash_one(0) % 2700),
    }
}

/// Compares the first minute with the last one, or the first and last thirds of a shorter run. True when the memory did not
/// grow.
fn tell_memory(memory: &[Usage]) -> bool {
    let span = (memory.len() / 3).clamp(1, 60);
    let median = |part: &[Usage], of: fn(&Usage) -> usize| {
        let mut all: Vec<usize> = part.iter().map(of).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    let (first, last) = (&memory[..span], &memory[memory.len() - span..]);
    let mut is_steady = true;
    for (what, of, slack) in [
        (
            "KiB of memory",
            (|usage| usage.memory) as fn(&Usage) -> usize,
            SLACK_KIB,
        ),
        ("tasks", |usage| usage.tasks, SLACK),
        ("files", |usage| usage.files, SLACK),
    ] {
        let (first, last) = (median(first, of), median(last, of));
        println!("{what}: {first} in the first {span} s, {last} in the last");
        is_steady &= last <= first + first / 10 + slack;
    }
    is_steady
}

const VISITORS: usize = 64;
/// Between an answer and the next request of a visitor: about three thousand requests a second in total.
const PAUSE: Duration = Duration::from_millis(20);
const WARM_UP: Duration = Duration::from_secs(2);
/// Between the beginnings of two faults.
const EVERY: Duration = Duration::from_secs(10);
/// At least so long after a fault, also when it took long.
const AFTER: Duration = Duration::from_secs(3);
const SLACK_KIB: usize = 8 * 1024;
const SLACK: usize = 16;
