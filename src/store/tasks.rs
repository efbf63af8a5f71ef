//! Work in the background: bounded in number, ended with the store, once for each key.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, task::JoinSet};

use super::key::Digest;

/// Tasks that end when this is dropped.
#[derive(Default)]
pub(crate) struct Tasks {
    running: Mutex<JoinSet<()>>,
}

impl Tasks {
    /// Runs `task`, unless there are too many already or there is no runtime; whether it does.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let Ok(runtime) = Handle::try_current() else {
            return false;
        };
        let mut running = lock(&self.running);
        while running.try_join_next().is_some() {}
        if running.len() >= MOST_TASKS {
            return false;
        }
        running.spawn_on(task, &runtime);
        true
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

const MOST_TASKS: usize = 64;
const MOST_REFUSALS: usize = 4096;
const REFUSAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::key::KeyBuilder;

    fn key(number: u64) -> Digest {
        KeyBuilder::new("test").part(&number.to_le_bytes()).finish()
    }

    #[tokio::test]
    async fn tasks_are_bounded_and_end_with_their_owner() {
        let tasks = Tasks::default();
        let alive = Arc::new(());
        for _ in 0..MOST_TASKS {
            let alive = Arc::clone(&alive);
            assert!(tasks.spawn(async move {
                std::future::pending::<()>().await;
                drop(alive);
            }));
        }
        assert!(!tasks.spawn(async {}));
        drop(tasks);
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_task_that_ended_makes_room() {
        let tasks = Tasks::default();
        for _ in 0..10 * MOST_TASKS {
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
