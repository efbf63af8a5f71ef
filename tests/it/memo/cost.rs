//! How many commands each operation takes.

use std::time::Duration;

use tokio::sync::Notify;
use tower_fred::{
    Redis,
    fred::{clients::Client, interfaces::KeysInterface},
    memo::Memo,
};

use super::{Loads, product, values};
use crate::support::{Server, keys::assert_ours_and_bounded};

const MINUTE: Duration = Duration::from_secs(60);

/// A handle with a long deadline that has read the purge log, which the first call of a process does beside its command.
async fn prepared(server: &Server) -> (Redis, Client) {
    let redis = Redis::builder()
        .namespace("shop")
        .deadline(Duration::from_secs(5))
        .connect(&server.url())
        .await
        .expect("a handle");
    let memo: Memo<u8> = Memo::new(redis.clone(), "other", MINUTE);
    memo.get(0).await.expect("an answer");
    (redis, server.admin().await)
}

async fn until_stored(admin: &Client, count: usize) {
    while values(admin).await.len() < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_miss_is_one_command_before_the_load_and_one_after_it() {
    let server = Server::start();
    let (redis, admin) = prepared(&server).await;
    let (memo, loads) = (super::memo(&redis), Loads::default());
    // The script is known to the server after the first fill.
    memo.get_or_try_set(6, || loads.load(6)).await.expect("six");
    until_stored(&admin, 1).await;

    // The load never ends: all commands were sent before it.
    let (counts, ()) = server
        .count(async {
            let began = Notify::new();
            let mut call = Box::pin(memo.get_or_try_set(7, async || {
                began.notify_one();
                std::future::pending::<Result<_, ()>>().await
            }));
            tokio::select! {
                _ = &mut call => panic!("it never ends"),
                () = began.notified() => {}
            }
        })
        .await;
    assert_eq!((counts.of("get"), counts.total()), (1, 1), "{counts:?}");

    let (counts, value) = server
        .count(async {
            let value = memo.get_or_try_set(8, || loads.load(8)).await;
            until_stored(&admin, 2).await;
            value
        })
        .await;
    assert_eq!(value, Ok(product(8)));
    assert_eq!(counts.total() - counts.of("keys"), 2, "{counts:?}");
}

#[tokio::test]
async fn a_slow_miss_takes_a_lease_and_still_no_more_commands() {
    let server = Server::start();
    let (redis, admin) = prepared(&server).await;
    let (memo, loads) = (super::memo(&redis), Loads::default());
    // It is not known how long a load takes: other processes wait.
    let (counts, _) = server
        .count(async {
            memo.get_or_try_set(7, || loads.load(7))
                .await
                .expect("seven");
            until_stored_for_good(&admin).await;
        })
        .await;
    assert_eq!((counts.of("set"), counts.of("get")), (2, 0), "{counts:?}");
    // The server did not have the script: it was asked to run it, given it, and asked again.
    let runs = counts.of("evalsha") - counts.of("script|load");
    assert_eq!(runs, 1, "{counts:?}");
}

/// Until no lease is left.
async fn until_stored_for_good(admin: &Client) {
    loop {
        if let [only] = &*values(admin).await {
            let left: i64 = admin.pttl(only).await.expect("PTTL");
            // A lease is for one second, the value for sixty.
            if left > 20_000 {
                return;
            }
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_remote_hit_is_one_command() {
    let server = Server::start();
    let (redis, _) = prepared(&server).await;
    let memo: Memo<u8> = Memo::new(redis, "numbers", MINUTE);
    memo.set(7, &1).await.expect("set");
    for _ in 0..3 {
        let (counts, value) = server
            .count(async { memo.get_or_try_set(7, async || Err(())).await })
            .await;
        assert_eq!(value, Ok(1));
        assert_eq!(counts.total(), 1, "{counts:?}");
    }
}

#[tokio::test]
async fn a_near_hit_is_no_command() {
    let server = Server::start();
    let (redis, _) = prepared(&server).await;
    let memo: Memo<u8> = Memo::new(redis, "numbers", MINUTE).near(1 << 20);
    memo.set(7, &1).await.expect("set");
    for _ in 0..2 {
        memo.get(7).await.expect("get");
    }
    let (counts, ()) = server
        .count(async {
            for _ in 0..1000 {
                assert_eq!(memo.get_or_try_set(7, async || Err(())).await, Ok(1));
                assert_eq!(memo.get(7).await.expect("get"), Some(1));
            }
        })
        .await;
    assert_eq!(counts.total(), 0, "{counts:?}");
}

#[tokio::test]
async fn a_purge_is_one_command_whatever_it_names() {
    let server = Server::start();
    let (redis, _) = prepared(&server).await;
    let memo: Memo<u32> = Memo::new(redis.clone(), "numbers", MINUTE)
        .tag("numbers")
        .tags_by(|number| vec![format!("parity:{}", number % 2)]);
    for number in 0..100 {
        memo.set(number, &number).await.expect("set");
    }
    let purge = redis.purge();
    for (tag, left) in [("parity:0", 50), ("other", 50), ("numbers", 0)] {
        let (counts, ()) = server
            .count(async { purge.tag(tag).await.expect("purged") })
            .await;
        assert_eq!(counts.of("evalsha"), 1, "{counts:?}");
        let found = memo.get_many(0..100).await.expect("values");
        assert_eq!(found.iter().flatten().count(), left, "{tag}");
    }
}

#[tokio::test]
async fn all_that_is_left_in_redis_has_an_end() {
    let server = Server::start();
    let (redis, admin) = prepared(&server).await;
    let memo: Memo<u32> = Memo::new(redis.clone(), "numbers", MINUTE).tag("numbers");
    for number in 0..20 {
        memo.get_or_set(number, async || number).await;
        memo.set(100 + number, &number).await.expect("set");
        // One that never ends, whose lease stays.
        let mut stuck = Box::pin(memo.get_or_set(200 + number, std::future::pending));
        tokio::select! {
            _ = &mut stuck => {}
            // Until it has its lease in Redis.
            () = tokio::time::sleep(Duration::from_millis(5)) => std::mem::forget(stuck),
        }
    }
    redis.purge().tag("numbers").await.expect("purged");
    redis.purge().all().await.expect("purged");
    assert_ours_and_bounded(&[admin], "shop").await;
}
