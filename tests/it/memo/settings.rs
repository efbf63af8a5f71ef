//! Each setting of a memo makes a difference.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tower_fred::{Redis, fred::interfaces::KeysInterface, memo::Memo};

use super::values;
use crate::support::{Server, server::namespace};

const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(30);

async fn patient(server: &Server) -> Redis {
    Redis::builder()
        .namespace(namespace())
        .deadline(Duration::from_secs(5))
        .connect(&server.url())
        .await
        .expect("a handle")
}

/// A load that gives 1, 2, 3 and so on.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicU32>);

impl Counter {
    fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Waits until a value that is fresh for [`SHORT`] is stale.
async fn until_stale() {
    // Only time makes it stale.
    tokio::time::sleep(2 * SHORT).await;
}

#[tokio::test]
async fn a_stale_value_is_given_to_all_but_the_one_who_loads() {
    let server = Server::shared();
    let memo: Memo<u32> =
        Memo::new(patient(&server).await, "numbers", SHORT).stale_while_revalidate(MINUTE);
    let counter = Counter::default();
    assert_eq!(memo.get_or_set(7, async || counter.next()).await, 1);
    until_stale().await;
    let go = tokio::sync::Notify::new();
    let began = tokio::sync::Notify::new();
    let mut loader = Box::pin(memo.get_or_set(7, async || {
        began.notify_one();
        go.notified().await;
        counter.next()
    }));
    tokio::select! {
        _ = &mut loader => panic!("it waits"),
        () = began.notified() => {}
    }
    for _ in 0..10 {
        assert_eq!(memo.get_or_set(7, async || counter.next()).await, 1);
    }
    assert_eq!(memo.get(7).await.expect("get"), Some(1));
    go.notify_one();
    assert_eq!(loader.await, 2);
    assert_eq!(counter.count(), 2);
}

#[tokio::test]
async fn in_the_background_nobody_waits() {
    let server = Server::shared();
    let memo: Memo<u32> =
        Memo::new(patient(&server).await, "numbers", SHORT).stale_while_revalidate(MINUTE);
    let counter = Counter::default();
    let get = async || {
        let counter = counter.clone();
        let load = || async move { Ok::<_, ()>(counter.next()) };
        memo.get_or_refresh(7, load).await.expect("a value")
    };
    assert_eq!(get().await, 1);
    until_stale().await;
    assert_eq!(get().await, 1);
    // The new value comes nevertheless.
    while get().await == 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_background_load_ends_with_the_memo() {
    let server = Server::shared();
    let memo: Memo<u32> =
        Memo::new(patient(&server).await, "numbers", SHORT).stale_while_revalidate(MINUTE);
    memo.get_or_set(7, async || 1).await;
    until_stale().await;
    let alive = Arc::new(tokio::sync::Notify::new());
    let held = Arc::clone(&alive);
    let load = move || async move {
        held.notify_one();
        std::future::pending::<()>().await;
        drop(held);
        Ok::<_, ()>(2)
    };
    assert_eq!(memo.get_or_refresh(7, load).await, Ok(1));
    alive.notified().await;
    drop(memo);
    while Arc::strong_count(&alive) > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stale_value_is_better_than_an_error() {
    let server = Server::shared();
    let memo: Memo<u32> = Memo::new(patient(&server).await, "numbers", SHORT)
        .stale_if_error(MINUTE)
        .error_pause(Duration::from_millis(1));
    assert_eq!(
        memo.get_or_try_set(7, async || Ok::<_, &str>(1)).await,
        Ok(1)
    );
    until_stale().await;
    assert_eq!(memo.get(7).await.expect("get"), None);
    assert_eq!(memo.get_or_try_set(7, async || Err("away")).await, Ok(1));
    // After the pause.
    while memo.get_or_try_set(7, async || Ok::<_, &str>(2)).await != Ok(2) {
        tokio::task::yield_now().await;
    }
    // Without the setting, the caller gets the error.
    assert_eq!(
        memo.get_or_try_set(8, async || Err("away")).await,
        Err("away")
    );
}

#[tokio::test]
async fn a_value_is_loaded_early_by_one() {
    let server = Server::shared();
    let redis = patient(&server).await;
    // So eager that a refresh is always early: loading takes 5 ms, times a random factor that is below 0.000001 once in a
    // million.
    let memo: Memo<u32> = Memo::new(redis, "numbers", MINUTE).early_refresh(1e12);
    let counter = Counter::default();
    let slow = async || {
        // The length of the load counts for early refresh.
        tokio::time::sleep(Duration::from_millis(5)).await;
        counter.next()
    };
    assert_eq!(memo.get_or_set(7, slow).await, 1);
    let mut stuck = Box::pin(memo.get_or_set(7, std::future::pending));
    tokio::select! {
        _ = &mut stuck => panic!("it loads"),
        // The others do not load while it does: no event tells that.
        value = async { tokio::time::sleep(SHORT).await; memo.get_or_set(7, async || counter.next()).await } => assert_eq!(value, 1),
    }
    drop(stuck);
    while memo.get_or_set(7, async || counter.next()).await == 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nothing_may_be_cached_too_and_for_less_time() {
    let server = Server::start();
    let memo: Memo<Option<u32>> =
        Memo::new(patient(&server).await, "numbers", MINUTE).negative_ttl(10 * SHORT);
    let counter = Counter::default();
    let none = async || {
        counter.next();
        None
    };
    assert_eq!(memo.get_or_set(7, none).await, None);
    assert_eq!(memo.get_or_set(7, none).await, None);
    assert_eq!(counter.count(), 1);
    memo.set(8, &Some(1)).await.expect("set");
    memo.set(9, &None).await.expect("set");
    let admin = server.admin().await;
    let mut lives = Vec::new();
    for key in values(&admin).await {
        let left: i64 = admin.pttl(&key).await.expect("PTTL");
        lives.push(left > 1000);
    }
    // That of the seven may have ended.
    assert_eq!(lives.iter().filter(|long| **long).count(), 1, "{lives:?}");
    // It is loaded again at its end.
    while memo.get_or_set(7, async || Some(2)).await != Some(2) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn jitter_and_a_ttl_by_value_are_in_what_redis_is_told() {
    let server = Server::start();
    let memo: Memo<u64> = Memo::new(patient(&server).await, "numbers", MINUTE)
        .ttl_by(|seconds| Duration::from_secs(*seconds))
        .jitter(0.5);
    let admin = server.admin().await;
    for seconds in [100, 1000] {
        let mut lives = Vec::new();
        for key in 0..20 {
            memo.set((seconds, key), &seconds).await.expect("set");
        }
        for key in values(&admin).await {
            let left: i64 = admin.pttl(&key).await.expect("PTTL");
            lives.push(left);
            let _: () = admin.del(&key).await.expect("DEL");
        }
        let most = i64::try_from(seconds).expect("small") * 1000;
        assert_eq!(lives.len(), 20);
        assert!(
            lives
                .iter()
                .all(|life| (most / 2 - 10_000..=most).contains(life)),
            "{lives:?}"
        );
        lives.sort_unstable();
        lives.dedup();
        assert!(lives.len() > 10, "{lives:?}");
    }
    // A ttl of zero: the value is not stored.
    memo.set("zero", &0).await.expect("set");
    assert_eq!(memo.get("zero").await.expect("get"), None);
    assert_eq!(memo.get_or_set("zero", async || 0).await, 0);
    assert_eq!(memo.get("zero").await.expect("get"), None);
}

#[tokio::test]
async fn many_values_come_in_their_order() {
    let server = Server::shared();
    let memo: Memo<u32> = Memo::new(patient(&server).await, "numbers", MINUTE);
    for number in [1, 3, 5] {
        memo.set(number, &(number * 10)).await.expect("set");
    }
    let found = memo.get_many([5, 4, 3, 5]).await.expect("values");
    assert_eq!(found, [Some(50), None, Some(30), Some(50)]);
    assert!(memo.get_many([0; 0]).await.expect("none").is_empty());
}

#[tokio::test]
async fn values_of_one_codec_are_nothing_to_another() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let json: Memo<BTreeMap<String, Option<u8>>> = Memo::new(redis.clone(), "maps", MINUTE);
    let packed = Memo::new(redis, "maps", MINUTE).messagepack();
    let value = BTreeMap::from([("a".to_owned(), Some(1)), ("b".to_owned(), None)]);
    packed.set(7, &value).await.expect("set");
    assert_eq!(json.get(7).await.expect("get"), None);
    assert_eq!(packed.get(7).await.expect("get"), Some(value.clone()));
    json.set(7, &BTreeMap::new()).await.expect("set");
    assert_eq!(packed.get(7).await.expect("get"), Some(value));
}

#[tokio::test]
async fn long_values_take_less_in_redis() {
    let server = Server::start();
    let redis = patient(&server).await;
    let memo: Memo<String> = Memo::new(redis, "texts", MINUTE).compress_above(1000);
    let admin = server.admin().await;
    for (length, most) in [(1000, 2000), (100_000, 2000)] {
        let text = "hello ".repeat(length / 6);
        memo.set(7, &text).await.expect("set");
        let key = values(&admin).await.remove(0);
        let stored: i64 = admin.strlen(&key).await.expect("STRLEN");
        assert!(stored < most, "{stored}");
        assert_eq!(memo.get(7).await.expect("get"), Some(text));
    }
}

#[tokio::test]
async fn memory_serves_for_a_while_without_redis() {
    let server = Server::start();
    let redis = Redis::builder()
        .namespace(namespace())
        .connect(&server.url())
        .await
        .expect("a handle");
    let bold: Memo<u32> = Memo::new(redis.clone(), "numbers", MINUTE)
        .near(1 << 20)
        .serve_for(MINUTE);
    let careful: Memo<u32> = Memo::new(redis, "numbers", MINUTE).near(1 << 20);
    bold.set(7, &1).await.expect("set");
    for memo in [&bold, &careful] {
        for _ in 0..3 {
            assert_eq!(memo.get(7).await.expect("get"), Some(1));
        }
    }
    server.kill();
    // For 50 ms after the last read of the log, near values are used anyway: only time ends that.
    tokio::time::sleep(2 * SHORT).await;
    assert_eq!(bold.get(7).await.expect("from memory"), Some(1));
    assert!(careful.get(7).await.expect_err("an error").is_unavailable());
    assert_eq!(careful.get_or_set(7, async || 2).await, 2);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let redis = runtime.block_on(Server::shared().redis());
    let memo = || Memo::<Option<u8>>::new(redis.clone(), "numbers", MINUTE);
    let refused = |name: &str, make: &dyn Fn()| {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(make));
        assert!(panicked.is_err(), "{name}");
    };
    let zero = Duration::ZERO;
    refused("ttl", &|| drop(Memo::<u8>::new(redis.clone(), "n", zero)));
    refused("near", &|| drop(memo().near(0)));
    refused("jitter", &|| drop(memo().jitter(1.5)));
    refused("eagerness", &|| drop(memo().early_refresh(-1.0)));
    refused("wait", &|| drop(memo().wait(zero)));
    refused("negative", &|| drop(memo().negative_ttl(zero)));
}
