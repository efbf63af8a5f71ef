//! Background tasks: bounded in number, and aborted with the store.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{runtime::Handle, sync::Semaphore, task::JoinSet};

use crate::log_pace::{LogPace, uptime};

/// Tasks that are aborted when this is dropped. Some run; the others wait for their turn in the order in which they came.
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

    /// Runs `task` when it is its turn; false when too many wait or there is no runtime: then it does not run.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let Ok(runtime) = Handle::try_current() else {
            return false;
        };
        // Nothing panics while it is held.
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        while all.try_join_next().is_some() {}
        let must_wait = self.turns.available_permits() == 0;
        if must_wait && all.len() >= MOST_TASKS {
            drop(all);
            self.warn();
            return false;
        }
        let turns = Arc::clone(&self.turns);
        let task = async move {
            // The semaphore is never closed.
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

/// How many tasks may run and wait together.
const MOST_TASKS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

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
        let (running, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        for number in 0..100 {
            let (running, done) = (Arc::clone(&running), Arc::clone(&done));
            tasks.spawn(async move {
                running.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                assert!(running.load(Ordering::Relaxed) <= 2, "too many at once");
                running.fetch_sub(1, Ordering::Relaxed);
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
}
