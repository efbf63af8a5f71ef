//! One load in all processes.

use std::{process::Child, time::Duration};

use futures_util::future::join_all;
use tower_fred::{
    Redis,
    fred::{clients::Client, interfaces::KeysInterface},
    memo::Memo,
};

use super::values;
use crate::support::{
    Server, process,
    proxy::{Mode, Proxy},
};

async fn handle(url: &str) -> Redis {
    Redis::builder()
        .namespace("herd")
        .deadline(Duration::from_secs(10))
        .connect(url)
        .await
        .expect("a handle")
}

fn memo(redis: &Redis) -> Memo<String> {
    Memo::new(redis.clone(), "pages", Duration::from_secs(60))
}

/// 256 callers of one key with a load of 50 ms, which counts itself in Redis.
async fn herd(redis: &Redis, counter: &Client) {
    let memo = memo(redis);
    let callers = (0..256).map(|_| {
        let (memo, counter) = (memo.clone(), counter.clone());
        tokio::spawn(async move {
            memo.get_or_set("cold", async || {
                let _: i64 = counter.incr("loads").await.expect("INCR");
                // Loads take so long that processes wait for one another.
                tokio::time::sleep(Duration::from_millis(50)).await;
                "a page".to_owned()
            })
            .await
        })
    });
    for value in join_all(callers).await {
        assert_eq!(value.expect("no panic"), "a page");
    }
}

async fn loads(admin: &Client) -> i64 {
    admin.get("loads").await.expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_herd_of_one_process_is_one_load() {
    let server = Server::start();
    let admin = server.admin().await;
    herd(&handle(&server.url()).await, &admin).await;
    assert_eq!(loads(&admin).await, 1);
}

#[tokio::test]
async fn a_herd_of_four_processes_is_one_load() {
    let server = Server::start();
    let admin = server.admin().await;
    let children: Vec<Child> = (0..4)
        .map(|_| process::start("memo::flight::herd_child", &server.url()))
        .collect();
    // All processes begin together.
    while admin.get::<Option<i64>, _>("ready").await.expect("GET") != Some(4) {
        tokio::task::yield_now().await;
    }
    let _: () = admin.set("go", "1", None, None, false).await.expect("SET");
    for child in children {
        let done = tokio::task::spawn_blocking(|| process::output(child, "herd:"));
        assert_eq!(done.await.expect("no panic"), ["done"]);
    }
    assert_eq!(loads(&admin).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn herd_child() {
    let Some(url) = process::input() else { return };
    let redis = handle(&url).await;
    let counter = redis.client();
    let _: i64 = counter.incr("ready").await.expect("INCR");
    while counter
        .get::<Option<i64>, _>("go")
        .await
        .expect("GET")
        .is_none()
    {
        tokio::task::yield_now().await;
    }
    herd(&redis, &counter).await;
    // A process that ended before its value is stored would keep the others waiting until its lease ends.
    let reader = memo(&redis);
    while reader.get("cold").await.expect("get").is_none() {
        tokio::task::yield_now().await;
    }
    println!("herd:done");
}

#[tokio::test]
async fn a_leader_in_another_process_that_leaves_hands_over() {
    let server = Server::shared();
    let namespace = crate::support::server::namespace();
    let connect = async || {
        let builder = Redis::builder().namespace(&namespace);
        let builder = builder.deadline(Duration::from_secs(10));
        builder.connect(&server.url()).await.expect("a handle")
    };
    // Two handles share nothing in this process.
    let (one, other) = (connect().await, connect().await);
    for (key, way) in [("a", "cancelled"), ("b", "panics"), ("c", "fails")] {
        // New ones, which do not know yet that the loads are short.
        let (one, other) = (memo(&one), memo(&other));
        let began = tokio::sync::Notify::new();
        let go = tokio::sync::Notify::new();
        let mut leader = Box::pin(one.get_or_try_set(key, async || {
            began.notify_one();
            go.notified().await;
            assert_ne!(way, "panics", "a bug in the loader");
            Err::<String, _>(way)
        }));
        tokio::select! {
            _ = &mut leader => panic!("it waits"),
            () = began.notified() => {}
        }
        let follower = other.clone();
        let waiting =
            tokio::spawn(
                async move { follower.get_or_set(key, async || "loaded".to_owned()).await },
            );
        // No event tells that it does not end.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waiting.is_finished(), "{way}: it waits for the other");
        go.notify_one();
        let caught = std::panic::AssertUnwindSafe(async {
            if way != "cancelled" {
                assert_eq!(leader.await, Err("fails"));
            }
        });
        let _ = futures_util::FutureExt::catch_unwind(caught).await;
        assert_eq!(waiting.await.expect("no panic"), "loaded", "{way}");
    }
}

/// Regression: a lease that was requested by a cancelled caller kept others waiting until it expired.
#[tokio::test]
async fn who_is_cancelled_while_asking_leaves_no_lease() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let (slow, direct) = (handle(&proxy.url()).await, handle(&server.url()).await);
    let (cancelled, other) = (memo(&slow), memo(&direct));
    // Both have read the purge log.
    for memo in [&cancelled, &other] {
        assert_eq!(memo.get("warm").await.expect("get"), None);
    }
    proxy.set(Mode::Delay(Duration::from_millis(300)));
    let mut asking = Box::pin(cancelled.get_or_set("a", std::future::pending));
    let admin = server.admin().await;
    tokio::select! {
        _ = &mut asking => panic!("it never ends"),
        () = async { while values(&admin).await.is_empty() {} } => {}
    }
    drop(asking);
    let load = other.get_or_set("a", async || "loaded".to_owned());
    let value = tokio::time::timeout(Duration::from_secs(5), load).await;
    assert_eq!(value.expect("at once"), "loaded");
}

/// Regression: callers took turns, each waiting for all before it.
#[tokio::test]
async fn who_waited_for_what_is_not_kept_loads_at_once() {
    const CALLERS: usize = 20;
    let server = Server::shared();
    let memo = memo(&server.redis().await).ttl_by(|_| Duration::ZERO);
    let go = tokio::sync::Notify::new();
    let first = memo.get_or_set("a", async || {
        go.notified().await;
        String::new()
    });
    // Each of these loads ends when all of them have begun.
    let all = tokio::sync::Barrier::new(CALLERS);
    let others = (0..CALLERS).map(|_| {
        memo.get_or_set("a", async || {
            all.wait().await;
            String::new()
        })
    });
    let run = async { tokio::join!(first, join_all(others), async { go.notify_one() }) };
    tokio::time::timeout(Duration::from_secs(60), run)
        .await
        .expect("all at once");
    // For two seconds no caller waits.
    let pair = tokio::sync::Barrier::new(2);
    let pair = async || {
        pair.wait().await;
        String::new()
    };
    let run = async { tokio::join!(memo.get_or_set("a", pair), memo.get_or_set("a", pair)) };
    tokio::time::timeout(Duration::from_secs(60), run)
        .await
        .expect("both at once");
}

#[tokio::test]
async fn who_waits_for_a_dead_process_waits_so_long_and_no_longer() {
    let server = Server::shared();
    let redis = server.redis().await;
    let patience = Duration::from_millis(200);
    let one = memo(&redis).wait(patience);
    let other = memo(&redis).wait(patience);
    // The leader keeps its lease, as a stopped process does.
    let mut dead = Box::pin(one.get_or_set("a", std::future::pending));
    tokio::select! {
        _ = &mut dead => panic!("it never ends"),
        // Until it has its lease in Redis.
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    assert_eq!(
        other.get_or_set("a", async || "loaded".to_owned()).await,
        "loaded"
    );
    // Followers in the same process are not held up either.
    assert_eq!(
        one.get_or_set("a", async || "loaded".to_owned()).await,
        "loaded"
    );
}

/// Regression: a value was stored only while the lease was there, so that a load longer than that was never stored.
#[tokio::test]
async fn what_takes_longer_than_a_lease_is_stored() {
    let server = Server::shared();
    let redis = server.redis().await;
    let memo = memo(&redis).wait(Duration::from_millis(50));
    let admin = server.admin().await;
    let load = async || {
        // Until the lease has ended, by the clock of Redis.
        while !super::values(&admin)
            .await
            .iter()
            .all(|key| !key.contains(redis.namespace()))
        {
            tokio::task::yield_now().await;
        }
        "slow".to_owned()
    };
    assert_eq!(memo.get_or_set("a", load).await, "slow");
    while memo.get("a").await.expect("get").is_none() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn more_keys_than_commands_in_flight_are_asked_for() {
    let server = Server::shared();
    let builder = Redis::builder().namespace(crate::support::server::namespace());
    let redis = builder.max_in_flight(100).connect(&server.url()).await;
    let memo = memo(&redis.expect("a handle"));
    memo.set(7, &"seven".to_owned()).await.expect("set");
    let found = memo.get_many(0..500).await.expect("values");
    assert_eq!(found.len(), 500);
    assert_eq!(found[7].as_deref(), Some("seven"));
}

#[tokio::test]
async fn a_late_filler_does_not_overwrite() {
    let server = Server::shared();
    let redis = server.redis().await;
    let patience = Duration::from_millis(100);
    let (slow, quick) = (memo(&redis).wait(patience), memo(&redis).wait(patience));
    let (began, go) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    let mut late = Box::pin(slow.get_or_set("a", async || {
        began.notify_one();
        go.notified().await;
        "old".to_owned()
    }));
    tokio::select! {
        _ = &mut late => panic!("it waits"),
        () = began.notified() => {}
    }
    // When its lease expires, another process loads.
    assert_eq!(
        quick.get_or_set("a", async || "new".to_owned()).await,
        "new"
    );
    let reader = memo(&redis);
    while reader.get("a").await.expect("get").is_none() {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    assert_eq!(late.await, "old");
    // The fill was sent before the reply to this command came.
    for _ in 0..20 {
        redis.ping().await.expect("an answer");
        assert_eq!(reader.get("a").await.expect("get").as_deref(), Some("new"));
    }
}
