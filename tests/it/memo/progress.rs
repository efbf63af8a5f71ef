//! Loads that make no progress, and loads that take long: how long other callers wait.

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{
    future::{join_all, pending},
    poll,
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tower_fred::{Redis, fred::interfaces::KeysInterface};

use super::{
    begun,
    loads::{Gauge, MINUTE, MS, leave_behind, memo},
};
use crate::{
    cache::patient,
    support::{Server, process, topology::Cluster},
};

/// Regression: they waited for 10 s, or 20 s in the same process.
async fn nobody_waits_for_a_load_that_is_not_polled(one: &Redis, other: &Redis) {
    let (near, far) = (memo(one), memo(other));
    for (key, followers) in [(1, vec![&near]), (2, vec![&far]), (3, vec![&near, &far])] {
        let left = leave_behind(&near, key).await;
        let loads = Gauge::default();
        let calls = followers.iter().flat_map(|memo| vec![*memo; 30]);
        let calls = calls.map(|memo| {
            memo.get_or_set(key, async || {
                loads.enter();
                // Long enough for all followers to come meanwhile.
                sleep(100 * MS).await;
                2
            })
        });
        let began = Instant::now();
        assert!(join_all(calls).await.into_iter().all(|value| value == 2));
        assert!(began.elapsed() < Duration::from_secs(6), "{key}");
        assert!(loads.total() <= followers.len(), "{}", loads.total());
        drop(left);
    }
}

#[tokio::test]
async fn nobody_waits_for_long_for_a_load_that_is_not_polled() {
    let server = Server::shared();
    let (one, builder) = (patient(&server).await, Redis::builder());
    let builder = builder.namespace(one.namespace()).deadline(MINUTE);
    let other = builder.connect(&server.url()).await.expect("a handle");
    nobody_waits_for_a_load_that_is_not_polled(&one, &other).await;
}

#[tokio::test]
async fn nobody_waits_for_long_for_a_load_that_is_not_polled_in_a_cluster() {
    let cluster = Cluster::start().await;
    let (one, other) = (cluster.redis().await, cluster.redis().await);
    let (one, other) = (one.with_deadline(MINUTE), other.with_deadline(MINUTE));
    let (one, other) = (one.expect("a deadline"), other.expect("a deadline"));
    nobody_waits_for_a_load_that_is_not_polled(&one, &other).await;
}

/// Regression: when a leader left, its followers got the lead one after another, also those that nobody polls.
#[tokio::test]
async fn who_waits_and_is_not_polled_holds_nobody_up() {
    let server = Server::shared();
    let memo = memo(&patient(&server).await);
    let left = leave_behind(&memo, 7).await;
    let mut others: Vec<_> = (0..10)
        .map(|_| Box::pin(memo.get_or_set(7, pending)))
        .collect();
    for other in &mut others {
        assert!(poll!(other).is_pending());
    }
    drop(left);
    let value = timeout(Duration::from_secs(5), memo.get_or_set(7, async || 2)).await;
    assert_eq!(value, Ok(2));
}

#[tokio::test]
async fn a_load_that_is_polled_keeps_all_waiting_however_long_it_takes() {
    let server = Server::shared();
    let redis = patient(&server).await;
    for (one, other) in [(memo(&redis), memo(&redis)), {
        let memo = memo(&redis);
        (memo.clone(), memo)
    }] {
        let loads = Gauge::default();
        let key = Arc::as_ptr(&loads.0) as usize;
        let load = async || {
            loads.enter();
            // Three times as long as a lease lives.
            sleep(3500 * MS).await;
            1
        };
        let leader = one.get_or_set(key, load);
        let follower = async {
            // Until the leader has its lease.
            sleep(300 * MS).await;
            other.get_or_set(key, load).await
        };
        assert_eq!(tokio::join!(leader, follower), (1, 1));
        assert_eq!(loads.total(), 1);
    }
}

#[tokio::test]
async fn what_a_late_leader_finds_is_used() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let (near, far) = (memo(&redis), memo(&redis));
    let (start, go) = (Notify::new(), Notify::new());
    let mut late = Box::pin(near.get_or_set(7, async || {
        start.notify_one();
        go.notified().await;
        1
    }));
    begun(&mut late, &start).await;
    // The second caller takes over, and its load never ends.
    let taken = Notify::new();
    let mut second = Box::pin(near.get_or_set(7, async || {
        taken.notify_one();
        pending().await
    }));
    timeout(Duration::from_secs(6), begun(&mut second, &taken))
        .await
        .expect("it takes over");
    let (one, other) = (near.clone(), far.clone());
    let third = tokio::spawn(async move { one.get_or_set(7, async || 3).await });
    let fourth = tokio::spawn(async move { other.get_or_set(7, async || 4).await });
    go.notify_one();
    assert_eq!(late.await, 1);
    assert_eq!(third.await.expect("no panic"), 1);
    // The other process may have given up the second one by then.
    let fourth = fourth.await.expect("no panic");
    assert!([1, 4].contains(&fourth), "{fourth}");
}

#[tokio::test]
async fn nobody_waits_for_long_for_a_process_that_was_stopped_or_killed() {
    let server = Server::start();
    let admin = server.admin().await;
    for signal in ["STOP", "KILL"] {
        let mut child = process::start("memo::progress::stuck_child", &server.url());
        let _: () = admin.del("loading").await.expect("DEL");
        while !admin.exists::<bool, _>("loading").await.expect("EXISTS") {
            sleep(5 * MS).await;
        }
        let kill = |signal: &str| {
            let pid = child.id().to_string();
            let status = Command::new("kill")
                .args([&format!("-{signal}"), &pid])
                .status();
            assert!(status.expect("kill").success());
        };
        kill(signal);
        let redis = Redis::builder().namespace("stuck").deadline(MINUTE);
        let memo = memo(&redis.connect(&server.url()).await.expect("a handle"));
        let value = timeout(Duration::from_secs(6), memo.get_or_set(7, async || 2)).await;
        assert_eq!(value, Ok(2), "{signal}");
        memo.invalidate(7).await.expect("invalidated");
        kill("KILL");
        child.wait().expect("its end");
    }
}

#[tokio::test]
async fn stuck_child() {
    let Some(url) = process::input() else { return };
    let redis = Redis::builder().namespace("stuck").deadline(MINUTE);
    let redis = redis.connect(&url).await.expect("a handle");
    memo(&redis)
        .get_or_set(7, async || {
            let client = redis.client();
            let set = client.set::<(), _, _>("loading", 1, None, None, false);
            set.await.expect("SET");
            pending().await
        })
        .await;
}

#[tokio::test]
async fn a_load_of_less_than_half_a_second_costs_no_more_commands_and_a_longer_one_few() {
    let server = Server::start();
    let redis = patient(&server).await;
    let reader = memo(&redis);
    let memo = memo(&redis);
    memo.get(0).await.expect("get");
    for (key, takes, least, most) in [(1, 300, 1, 1), (2, 5, 1, 1), (3, 1600, 2, 6)] {
        let load = async || {
            // What is measured is the cost of a load of this length.
            sleep(takes * MS).await;
            1
        };
        let (counts, ()) = server
            .count(async {
                memo.get_or_set(key, load).await;
                while reader.get(key).await.expect("get").is_none() {}
            })
            .await;
        // The fill and the extensions of the lease. A script that the server does not have is sent for twice.
        let scripts = counts.of("evalsha") - counts.of("script|load");
        assert!((least..=most).contains(&scripts), "{takes}: {counts:?}");
    }
}
