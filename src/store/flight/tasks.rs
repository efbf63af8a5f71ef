//! Work in the background: bounded in number, ended with the store, once for each key.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::Semaphore, task::JoinSet};

use crate::log_pace::{LogPace, uptime};
use crate::store::entry::key::Digest;

/// Tasks that end when this is dropped. Some run, and the others wait for their turn in the order in which they came.
pub(crate) struct Tasks {
    all: Mutex<JoinSet<()>>,
    turns: Arc<Semaphore>,
    pace: LogPace,
}

impl Tasks {
    /// At most `at_once` run at a time.
    pub(crate) fn new(at_once: usize) -> Self {
        Self {
            all: Mutex::default(),
            turns: Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS))),
            pace: LogPace::new(),
        }
    }

    /// Runs `task` when it is its turn, unless too many wait or there is no runtime; whether it will.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let Ok(runtime) = Handle::try_current() else {
            return false;
        };
        let mut all = lock(&self.all);
        while all.try_join_next().is_some() {}
        let must_wait = self.turns.available_permits() == 0;
        if must_wait && all.len() >= MOST_TASKS {
            drop(all);
            self.warn();
            return false;
        }
        let turns = Arc::clone(&self.turns);
        let task = async move {
            // It is never closed.
            if let Ok(_turn) = turns.acquire_owned().await {
                task.await;
            }
        };
        all.spawn_on(task, &runtime);
        true
    }

    fn warn(&self) {
        if let Some(omitted) = self.pace.admit(uptime()) {
            tracing::warn!(
                target: "tower_fred::store", waiting = MOST_TASKS, omitted,
                "too many background refreshes wait for their turn: one is left out"
            );
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").finish_non_exhaustive()
    }
}

/// The keys that are being made anew by this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Renewals(Arc<Mutex<HashSet<Digest>>>);

impl Renewals {
    /// The right to make one anew; `None` when somebody has it.
    pub(crate) fn begin(&self, key: &Digest) -> Option<Renewal> {
        lock(&self.0).insert(*key).then(|| Renewal {
            all: self.clone(),
            key: *key,
        })
    }
}

/// A right that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Renewal {
    all: Renewals,
    key: Digest,
}

impl Drop for Renewal {
    fn drop(&mut self) {
        lock(&self.all.0).remove(&self.key);
    }
}

/// The keys for which there was nothing to store a moment ago: nobody is to wait for them.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<Digest, Instant>>);

impl Refusals {
    pub(crate) fn note(&self, key: &Digest, now: Instant) {
        let mut all = lock(&self.0);
        if all.len() >= MOST_REFUSALS {
            all.retain(|_, at| now.saturating_duration_since(*at) < REFUSAL);
            if all.len() >= MOST_REFUSALS {
                all.clear();
            }
        }
        all.insert(*key, now);
    }

    pub(crate) fn has(&self, key: &Digest, now: Instant) -> bool {
        let mut all = lock(&self.0);
        match all.get(key) {
            Some(at) if now.saturating_duration_since(*at) < REFUSAL => true,
            Some(_) => {
                all.remove(key);
                false
            }
            None => false,
        }
    }

    pub(crate) fn forget(&self, key: &Digest) {
        lock(&self.0).remove(key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many may run and wait.
const MOST_TASKS: usize = 4096;
const MOST_REFUSALS: usize = 4096;
const REFUSAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::key::KeyBuilder;

    fn key(number: u64) -> Digest {
        KeyBuilder::new("test").part(&number.to_le_bytes()).finish()
    }

    #[tokio::test]
    async fn tasks_are_bounded_and_end_with_their_owner() {
        let tasks = Tasks::new(2);
        let alive = Arc::new(());
        for _ in 0..MOST_TASKS {
            let alive = Arc::clone(&alive);
            assert!(tasks.spawn(async move {
                std::future::pending::<()>().await;
                drop(alive);
            }));
            tokio::task::yield_now().await;
        }
        assert!(!tasks.spawn(async {}));
        drop(tasks);
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_task_waits_for_its_turn_and_one_that_panics_gives_it_back() {
        let tasks = Tasks::new(2);
        let (running, done) = (Arc::new(Mutex::new(0)), Arc::new(Semaphore::new(0)));
        for number in 0..100 {
            let (running, done) = (Arc::clone(&running), Arc::clone(&done));
            tasks.spawn(async move {
                *lock(&running) += 1;
                tokio::task::yield_now().await;
                assert!(*lock(&running) <= 2, "too many at once");
                *lock(&running) -= 1;
                done.add_permits(1);
                assert!(number % 7 > 0, "a bug in a task");
            });
        }
        let all = done.acquire_many(100).await;
        assert!(all.is_ok());
    }

    #[tokio::test]
    async fn a_task_that_ended_makes_room() {
        let tasks = Tasks::new(64);
        for _ in 0..2 * MOST_TASKS {
            while !tasks.spawn(async {}) {
                tokio::task::yield_now().await;
            }
        }
    }

    #[test]
    fn each_key_is_renewed_once_at_a_time() {
        let renewals = Renewals::default();
        let first = renewals.begin(&key(1)).expect("the first");
        assert!(renewals.begin(&key(1)).is_none());
        assert!(renewals.begin(&key(2)).is_some());
        drop(first);
        assert!(renewals.begin(&key(1)).is_some());
    }

    #[test]
    fn a_refusal_is_remembered_briefly() {
        let refusals = Refusals::default();
        let now = Instant::now();
        refusals.note(&key(1), now);
        assert!(refusals.has(&key(1), now));
        assert!(!refusals.has(&key(2), now));
        assert!(!refusals.has(&key(1), now + REFUSAL));
        for number in 0..2 * MOST_REFUSALS as u64 {
            refusals.note(&key(number), now);
        }
        assert!(lock(&refusals.0).len() <= MOST_REFUSALS);
    }
}
