//! Loads that fail, and loads without Redis: what callers get that wait.

use futures_util::future::join_all;
use tokio::{
    sync::{Barrier, Notify},
    time::{sleep, timeout},
};
use tower_fred::{Redis, memo::Memo};

use super::{
    begun,
    loads::{Gauge, MINUTE, MS, leave_behind, memo},
};
use crate::{cache::patient, support::Server};

/// Regression: callers took turns, each waiting for all before it.
#[tokio::test]
async fn nobody_takes_turns_after_a_load_that_failed() {
    const CALLERS: usize = 10;
    let server = Server::shared();
    let redis = patient(&server).await;
    let (near, far) = (memo(&redis), memo(&redis));
    let go = Notify::new();
    let first = near.get_or_try_set(7, async || {
        go.notified().await;
        Err::<u32, _>("first")
    });
    // Each of these loads ends when all of them have begun, in both processes.
    let all = Barrier::new(2 * CALLERS);
    let others = [&near, &far]
        .into_iter()
        .flat_map(|memo| vec![memo; CALLERS]);
    let others = others.map(|memo| {
        memo.get_or_try_set(7, async || {
            all.wait().await;
            Err::<u32, _>("other")
        })
    });
    let run = async {
        tokio::join!(first, join_all(others), async {
            // Until all of them wait, also for Redis: no event tells that.
            sleep(200 * MS).await;
            go.notify_one();
        })
    };
    let (first, others, ()) = timeout(8000 * MS, run).await.expect("all at once");
    assert_eq!(first, Err("first"));
    assert!(others.into_iter().all(|result| result == Err("other")));
    // Later callers do not wait for them, and a value that is loaded then is stored.
    assert_eq!(near.get_or_set(7, async || 1).await, 1);
    timeout(MINUTE, async {
        while far.get(7).await.expect("get") != Some(1) {}
    })
    .await
    .expect("kept");
}

/// A memo with a stale value under 7.
async fn with_stale(memo: Memo<u32>) -> Memo<u32> {
    // Loads take so long that processes wait for one another.
    let load = async || {
        sleep(50 * MS).await;
        1
    };
    memo.get_or_set(7, load).await;
    while memo.get(7).await.expect("get").is_some() {
        sleep(MS).await;
    }
    memo
}

fn short_lived(redis: &Redis) -> Memo<u32> {
    Memo::new(redis.clone(), "numbers", 20 * MS).stale_if_error(MINUTE)
}

/// Regression: each caller asked the failing source, one after the other.
#[tokio::test]
async fn while_loads_fail_one_tries_after_each_pause_and_all_others_have_the_stale_value_at_once() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let near = with_stale(short_lived(&redis).error_pause(MINUTE)).await;
    let far = short_lived(&redis).error_pause(MINUTE);
    let loads = Gauge::default();
    let fail = async || {
        loads.enter();
        // Long enough for all callers to come meanwhile.
        sleep(100 * MS).await;
        Err::<u32, _>("away")
    };
    for memo in [&near, &near, &far, &near, &far] {
        let calls = (0..30).map(|_| memo.get_or_try_set(7, fail));
        let values = join_all(calls).await;
        assert!(values.into_iter().all(|value| value == Ok(1)));
    }
    assert_eq!(loads.total(), 1);
}

#[tokio::test]
async fn one_at_a_time_tries_again_and_nobody_waits_for_it() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let memo = with_stale(short_lived(&redis).error_pause(50 * MS)).await;
    let fail = async || Err::<u32, _>("away");
    assert_eq!(memo.get_or_try_set(7, fail).await, Ok(1));
    // Only time ends the pause of 50 ms.
    sleep(100 * MS).await;
    let (start, go) = (Notify::new(), Notify::new());
    let mut prober = Box::pin(memo.get_or_try_set(7, async || {
        start.notify_one();
        go.notified().await;
        Ok::<_, &str>(2)
    }));
    begun(&mut prober, &start).await;
    // This load ends only after the other callers have got their values.
    let never = async || -> Result<u32, &str> { panic!("one tries already") };
    let calls = (0..30).map(|_| memo.get_or_try_set(7, never));
    let values = timeout(MINUTE, join_all(calls)).await.expect("at once");
    assert!(values.into_iter().all(|value| value == Ok(1)));
    go.notify_one();
    assert_eq!(prober.await, Ok(2));
    timeout(MINUTE, async {
        while memo.get_or_try_set(7, async || Ok::<_, &str>(3)).await == Ok(1) {}
    })
    .await
    .expect("the failure is forgotten");
}

#[tokio::test]
async fn who_waited_too_long_or_could_not_look_gets_the_stale_value_too() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let memo = with_stale(short_lived(&redis).wait(50 * MS)).await;
    let other = short_lived(&redis).wait(50 * MS);
    let left = leave_behind(&memo, 7).await;
    let fail = async || Err::<u32, _>("away");
    for memo in [&memo, &other, &memo, &other] {
        assert_eq!(memo.get_or_try_set(7, fail).await, Ok(1));
    }
    drop(left);
}

/// Regression: callers that came after the first one had failed to look up the value loaded for themselves.
#[tokio::test]
async fn without_redis_callers_share_loads_whenever_they_come() {
    let server = Server::start();
    let memo = memo(&server.redis().await);
    server.kill();
    let loads = Gauge::default();
    let calls = (0..100).map(|number: u32| {
        let (memo, loads) = (memo.clone(), loads.clone());
        async move {
            // Callers come during several loads.
            sleep(number * 3 * MS).await;
            memo.get_or_set(7, async || {
                loads.enter();
                sleep(200 * MS).await;
                loads.leave();
                1
            })
            .await
        }
    });
    assert!(join_all(calls).await.into_iter().all(|value| value == 1));
    assert_eq!(loads.most(), 1);
    assert!(loads.total() <= 6, "{}", loads.total());
}
