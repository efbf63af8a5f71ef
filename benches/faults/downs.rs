//! How often a handle counts Redis as down.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::task::JoinHandle;
use tower_fred::{Redis, redis::Health};

/// Counts until it is dropped.
pub(crate) struct Downs {
    count: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Downs {
    /// Counts from now on how often the health of `redis` ceases to be `Up`.
    pub(crate) fn watch(redis: &Redis) -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let mut health = redis.watch_health();
        let task = tokio::spawn({
            let count = Arc::clone(&count);
            async move {
                let mut was_up = *health.borrow_and_update() == Health::Up;
                while health.changed().await.is_ok() {
                    let is_up = *health.borrow_and_update() == Health::Up;
                    if was_up && !is_up {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    was_up = is_up;
                }
            }
        });
        Self { count, task }
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Downs {
    fn drop(&mut self) {
        self.task.abort();
    }
}
