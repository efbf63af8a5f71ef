//! Helpers for tests of loads: counting them, and loads that never end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::pending;
use tokio::sync::Notify;
use tower_fred::{Redis, memo::Memo};

use super::begun;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn memo(redis: &Redis) -> Memo<u32> {
    Memo::new(redis.clone(), "numbers", MINUTE)
}

/// How many loads began, and how many ran at once.
#[derive(Clone, Default)]
pub(crate) struct Gauge(pub(crate) Arc<[AtomicUsize; 3]>);

impl Gauge {
    pub(crate) fn enter(&self) -> usize {
        let [total, now, most] = &*self.0;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        total.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn leave(&self) {
        self.0[1].fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn total(&self) -> usize {
        self.0[0].load(Ordering::SeqCst)
    }

    pub(crate) fn most(&self) -> usize {
        self.0[2].load(Ordering::SeqCst)
    }
}

/// A call whose load never ends. It is polled until the load has begun, and not afterwards.
pub(crate) async fn leave_behind(memo: &Memo<u32>, key: u32) -> impl Future<Output = u32> {
    let (memo, start) = (memo.clone(), Arc::new(Notify::new()));
    let started = Arc::clone(&start);
    let mut call = Box::pin(async move {
        memo.get_or_set(key, async || {
            started.notify_one();
            pending().await
        })
        .await
    });
    begun(&mut call, &start).await;
    call
}
