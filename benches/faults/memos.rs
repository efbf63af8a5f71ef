//! A load on a memo: the values are right, and nobody waits longer than for a look and for a load.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::sleep};
use tower_fred::{Redis, memo::Memo};

/// Callers who ask for values until this is dropped.
pub(crate) struct Memos {
    seen: Arc<Mutex<Seen>>,
    callers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
pub(crate) struct Seen {
    wrong: usize,
    slowest: Duration,
}

impl Memos {
    pub(crate) fn start(redis: &Redis) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let memo = Memo::new(redis.clone(), "soak", TTL).near(1 << 20);
        let callers = (0..CALLERS).map(|caller| {
            let (memo, seen) = (memo.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                for number in (caller..).map(|number| number % VALUES) {
                    let begun = Instant::now();
                    let load = async || {
                        // The work of the loader.
                        sleep(LOAD).await;
                        number * 7
                    };
                    let value: u64 = memo.get_or_set(number, load).await;
                    let took = begun.elapsed();
                    {
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.wrong += usize::from(value != number * 7);
                        seen.slowest = seen.slowest.max(took);
                    }
                    // The pace of the callers.
                    sleep(PAUSE).await;
                }
            })
        });
        let callers = callers.collect();
        Self { seen, callers }
    }

    /// What was seen since the last time.
    pub(crate) fn take(&self) -> Seen {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Memos {
    fn drop(&mut self) {
        self.callers.iter().for_each(JoinHandle::abort);
    }
}

impl Seen {
    /// The promises that were not kept, when the machine delayed a thread by `held_up`.
    pub(crate) fn misses(&self, held_up: Duration) -> Vec<String> {
        let mut misses = Vec::new();
        if self.wrong > 0 {
            misses.push(format!("{} wrong values", self.wrong));
        }
        let (slowest, limit) = (self.slowest, MOST + held_up);
        if slowest > limit {
            misses.push(format!("memo {slowest:.0?} > {limit:.0?}"));
        }
        misses
    }
}

const CALLERS: u64 = 8;
const VALUES: u64 = 50;
const PAUSE: Duration = Duration::from_millis(10);
const TTL: Duration = Duration::from_secs(5);
/// More than what each process does by itself.
const LOAD: Duration = Duration::from_millis(30);
/// A look and a load, after those of another caller that came to nothing; each look may take a deadline and a tenth.
const MOST: Duration = Duration::from_millis(2 * (275 + 30) + 5);
