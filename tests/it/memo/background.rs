//! Loads in the background: how many run at once, and how long each may take.

use std::sync::Arc;

use futures_util::future::pending;
use tokio::{
    sync::{Notify, Semaphore},
    time::{sleep, timeout},
};
use tower_fred::memo::Memo;

use super::loads::{Gauge, MINUTE, MS};
use crate::{cache::patient, support::Server};

/// Regression: while 64 slow loads ran, no other value was loaded anew.
#[tokio::test]
async fn slow_refreshes_leave_others_their_turn() {
    const KEYS: usize = 12;
    let server = Server::shared();
    let redis = patient(&server).await;
    let memo: Memo<u32> = Memo::new(redis, "numbers", 20 * MS)
        .stale_while_revalidate(MINUTE)
        .background_refreshes(2);
    let key = |number| u32::try_from(number).expect("small");
    for number in 0..KEYS {
        memo.get_or_set(key(number), async || 1).await;
    }
    // Only time makes the values stale: their ttl is 20 ms.
    sleep(50 * MS).await;
    let (gauge, gate) = (Gauge::default(), Arc::new(Semaphore::new(0)));
    // Each key several times: only one load of it waits or runs.
    for number in (0..KEYS).cycle().take(3 * KEYS) {
        let (gauge, gate) = (gauge.clone(), Arc::clone(&gate));
        let load = move || async move {
            gauge.enter();
            gate.acquire().await.expect("open").forget();
            gauge.leave();
            Ok::<_, ()>(2)
        };
        assert_eq!(memo.get_or_refresh(key(number), load).await, Ok(1));
    }
    // A value that was set meanwhile needs no load.
    let last = key(KEYS - 1);
    memo.set(last, &3).await.expect("set");
    gate.add_permits(KEYS);
    timeout(MINUTE, async {
        while gauge.total() < KEYS - 1 {
            sleep(MS).await;
        }
    })
    .await
    .expect("all but one");
    // No event tells that no other load begins.
    sleep(100 * MS).await;
    assert_eq!((gauge.total(), gauge.most()), (KEYS - 1, 2));
}

#[tokio::test]
async fn a_refresh_that_takes_too_long_makes_room() {
    let server = Server::shared();
    let memo: Memo<u32> = Memo::new(patient(&server).await, "numbers", 20 * MS)
        .stale_while_revalidate(MINUTE)
        .background_refreshes(1)
        .refresh_limit(100 * MS);
    for number in [1, 2] {
        memo.get_or_set(number, async || 1).await;
    }
    // Only time makes the values stale: their ttl is 20 ms.
    sleep(50 * MS).await;
    let stuck = || pending::<Result<u32, ()>>();
    assert_eq!(memo.get_or_refresh(1, stuck).await, Ok(1));
    let done = Arc::new(Notify::new());
    let load = {
        let done = Arc::clone(&done);
        move || async move {
            done.notify_one();
            Ok::<_, ()>(2)
        }
    };
    assert_eq!(memo.get_or_refresh(2, load).await, Ok(1));
    timeout(MINUTE, done.notified()).await.expect("its turn");
}
