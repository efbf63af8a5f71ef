//! The memo: one load for many callers whatever happens to the one that loads, its costs, and its settings.

mod background;
mod coherence;
mod cost;
mod failures;
mod flight;
mod loads;
mod progress;
mod settings;

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::join_all, poll};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tower_fred::{
    Redis,
    fred::{clients::Client, interfaces::KeysInterface, types::Value},
    memo::Memo,
};

use crate::{cache::custom, support::Server};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Product {
    id: u64,
    name: String,
}

fn product(id: u64) -> Product {
    Product {
        id,
        name: format!("product {id}"),
    }
}

fn memo<T>(redis: &Redis) -> Memo<T> {
    Memo::new(redis.clone(), "products", Duration::from_secs(60))
}

/// The keys of all values.
async fn values(admin: &Client) -> Vec<String> {
    custom(admin, "KEYS", vec!["*:m:*".into()]).await
}

/// A load that counts.
#[derive(Clone, Default)]
struct Loads(Arc<AtomicUsize>);

impl Loads {
    async fn load(&self, id: u64) -> Result<Product, &'static str> {
        self.0.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        Ok(product(id))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn keys_of_another_name_or_type_are_others() {
    let server = Server::shared();
    let redis = server.redis().await;
    let one: Memo<u8> = Memo::new(redis.clone(), "one", Duration::from_secs(60));
    let other: Memo<u8> = Memo::new(redis, "other", Duration::from_secs(60));
    one.set(7, &1).await.expect("set");
    assert_eq!(one.get(7).await.expect("get"), Some(1));
    assert_eq!(other.get(7).await.expect("get"), None);
    assert_eq!(one.get("7").await.expect("get"), None);
    assert_eq!(one.get((7,)).await.expect("get"), None);
    assert_eq!(one.get(("7", 7u64)).await.expect("get"), None);
    // `String` and `&str` are the same key.
    one.set("a".to_owned(), &2).await.expect("set");
    assert_eq!(one.get(&"a").await.expect("get"), Some(2));
}

#[tokio::test]
async fn a_hundred_callers_need_one_load() {
    let server = Server::shared();
    let redis = server.redis().await;
    let (memo, loads) = (memo(&redis), Loads::default());
    let calls = (0..100).map(|_| memo.get_or_try_set(7, || loads.load(7)));
    for value in join_all(calls).await {
        assert_eq!(value, Ok(product(7)));
    }
    assert_eq!(loads.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_callers_on_many_threads_need_one_load() {
    let server = Server::shared();
    let redis = server.redis().await;
    let (memo, loads) = (memo(&redis), Loads::default());
    let calls = (0..100).map(|_| {
        let (memo, loads) = (memo.clone(), loads.clone());
        tokio::spawn(async move { memo.get_or_try_set(7, || loads.load(7)).await })
    });
    for value in join_all(calls).await {
        assert_eq!(value.expect("no panic"), Ok(product(7)));
    }
    assert_eq!(loads.count(), 1);
}

#[tokio::test]
async fn other_keys_do_not_wait() {
    let server = Server::shared();
    let redis = server.redis().await;
    let memo = memo::<u8>(&redis);
    let mut stuck = Box::pin(memo.get_or_try_set(1, pending::<Result<u8, ()>>));
    assert!(poll!(&mut stuck).is_pending());
    assert_eq!(
        memo.get_or_try_set(2, || async { Ok::<_, ()>(2) }).await,
        Ok(2)
    );
}

#[tokio::test]
async fn an_error_is_the_callers_own_and_not_kept() {
    let server = Server::shared();
    let redis = server.redis().await;
    let (memo, loads) = (memo(&redis), Loads::default());
    let failed = memo
        .get_or_try_set(7, || async { Err("no database") })
        .await;
    assert_eq!(failed, Err("no database"));
    assert_eq!(memo.get(7).await.expect("get"), None);
    assert_eq!(
        memo.get_or_try_set(7, || loads.load(7)).await,
        Ok(product(7))
    );

    // A caller that waited for a load that failed loads for itself.
    let release = Notify::new();
    let failing = memo.get_or_try_set(8, || async {
        release.notified().await;
        Err("no database")
    });
    let waiting = memo.get_or_try_set(8, || loads.load(8));
    let (failed, loaded, ()) = tokio::join!(failing, waiting, async { release.notify_one() });
    assert_eq!((failed, loaded), (Err("no database"), Ok(product(8))));
}

/// Polls the leader until its load has begun.
async fn begun<F: Future + Unpin>(leader: &mut F, began: &Notify) {
    let began = began.notified();
    tokio::select! {
        _ = leader => panic!("it ended"),
        () = began => {}
    }
}

#[tokio::test]
async fn a_cancelled_load_is_handed_over() {
    let server = Server::shared();
    let redis = server.redis().await;
    let (memo, loads) = (memo(&redis), Loads::default());
    let began = Notify::new();
    let mut leader = Box::pin(memo.get_or_try_set(7, || async {
        began.notify_one();
        pending::<Result<Product, &str>>().await
    }));
    begun(&mut leader, &began).await;
    let mut waiting: Vec<_> = (0..10)
        .map(|_| Box::pin(memo.get_or_try_set(7, || loads.load(7))))
        .collect();
    for caller in &mut waiting {
        assert!(poll!(caller).is_pending());
    }
    assert_eq!(loads.count(), 0);
    drop(leader);
    for value in join_all(waiting).await {
        assert_eq!(value, Ok(product(7)));
    }
    assert_eq!(loads.count(), 1);
}

#[tokio::test]
async fn a_panic_is_handed_over() {
    let server = Server::shared();
    let redis = server.redis().await;
    let (memo, loads) = (memo(&redis), Loads::default());
    let began = Notify::new();
    let go = Notify::new();
    let mut leader = Box::pin(memo.get_or_try_set(7, || async {
        began.notify_one();
        go.notified().await;
        panic!("a bug in the loader")
    }));
    begun(&mut leader, &began).await;
    let waiting = memo.get_or_try_set(7, || loads.load(7));
    go.notify_one();
    let leader = std::panic::AssertUnwindSafe(leader).catch_unwind();
    let (panicked, value): (Result<Result<Product, &str>, _>, _) = tokio::join!(leader, waiting);
    assert!(panicked.is_err());
    assert_eq!(value, Ok(product(7)));
}

#[tokio::test]
async fn an_outdated_load_is_not_kept() {
    let server = Server::shared();
    let redis = server.redis().await;
    let memo = memo::<u8>(&redis);
    for change in ["invalidate", "set"] {
        let (began, go) = (Notify::new(), Notify::new());
        let mut old = Box::pin(memo.get_or_try_set(change, || async {
            began.notify_one();
            go.notified().await;
            Ok::<_, ()>(1)
        }));
        begun(&mut old, &began).await;
        match change {
            "set" => memo.set(change, &2).await.expect("set"),
            _ => drop(memo.invalidate(change).await.expect("invalidated")),
        }
        // Later callers do not get the old value.
        assert_eq!(
            memo.get_or_try_set(change, || async { Ok::<_, ()>(2) })
                .await,
            Ok(2)
        );
        go.notify_one();
        assert_eq!(old.await, Ok(1));
        assert_eq!(memo.get(change).await.expect("get"), Some(2), "{change}");
    }
}

#[tokio::test]
async fn a_value_that_no_longer_decodes_is_loaded_again() {
    let server = Server::shared();
    let redis = server.redis().await;
    memo::<String>(&redis)
        .set(7, &"text".to_owned())
        .await
        .expect("set");
    let (memo, loads) = (memo::<Product>(&redis), Loads::default());
    assert_eq!(memo.get(7).await.expect("get"), None);
    assert_eq!(
        memo.get_or_try_set(7, || loads.load(7)).await,
        Ok(product(7))
    );
    assert_eq!(memo.get(7).await.expect("get"), Some(product(7)));
}

#[tokio::test]
async fn foreign_and_swapped_values_are_loaded_again() {
    let server = Server::start();
    let redis = server.redis().await;
    let (memo, loads) = (memo(&redis), Loads::default());
    memo.set(7, &product(7)).await.expect("set");
    let admin = server.admin().await;
    let seven = values(&admin).await[0].clone();
    memo.set(8, &product(8)).await.expect("set");
    let eight = values(&admin)
        .await
        .into_iter()
        .find(|key| *key != seven)
        .expect("another key");
    let _: Value = custom(
        &admin,
        "COPY",
        vec![eight.into(), seven.as_str().into(), "REPLACE".into()],
    )
    .await;
    assert_eq!(memo.get(7).await.expect("get"), None);
    let _: () = admin.del(&seven).await.expect("DEL");
    let _: Value = custom(&admin, "RPUSH", vec![seven.into(), "a".into()]).await;
    assert_eq!(
        memo.get_or_try_set(7, || loads.load(7)).await,
        Ok(product(7))
    );
    assert_eq!(memo.get(7).await.expect("get"), Some(product(7)));
}

#[tokio::test]
async fn a_value_is_removed() {
    let server = Server::shared();
    let redis = server.redis().await;
    let memo = memo::<u8>(&redis);
    memo.set(7, &1).await.expect("set");
    assert!(memo.invalidate(7).await.expect("invalidated"));
    assert!(!memo.invalidate(7).await.expect("invalidated"));
    assert_eq!(memo.get(7).await.expect("get"), None);
}

/// Regression: when no lease could be written, nothing was read.
#[tokio::test]
async fn a_server_that_is_full_is_still_read() {
    let server = Server::start();
    let redis = server.redis().await;
    memo(&redis).set(7, &product(7)).await.expect("set");
    let admin = server.admin().await;
    let full = ["SET", "maxmemory", "1"].map(Value::from).to_vec();
    let _: String = custom(&admin, "CONFIG", full).await;
    let refused = memo(&redis).set(8, &product(8)).await;
    assert!(refused.expect_err("an error").is_unavailable());
    let found = memo(&redis).get_or_try_set(7, async || Err("loaded")).await;
    assert_eq!(found, Ok(product(7)));
    let other = memo(&redis);
    let loaded = other.get_or_try_set(8, async || Ok::<_, &str>(product(8)));
    assert_eq!(loaded.await, Ok(product(8)));
}

#[tokio::test]
async fn without_redis_it_loads() {
    let server = Server::start();
    let redis = server.redis().await;
    let (memo, loads) = (memo(&redis), Loads::default());
    server.kill();
    let calls = (0..100).map(|_| memo.get_or_try_set(7, || loads.load(7)));
    for value in join_all(calls).await {
        assert_eq!(value, Ok(product(7)));
    }
    assert_eq!(loads.count(), 1);
    assert!(memo.get(7).await.expect_err("an error").is_unavailable());
    assert!(
        memo.set(7, &product(7))
            .await
            .expect_err("an error")
            .is_unavailable()
    );
    assert!(
        memo.invalidate(7)
            .await
            .expect_err("an error")
            .is_unavailable()
    );
}

#[tokio::test]
async fn while_redis_hangs_it_loads() {
    let server = Server::start();
    let redis = server.redis().await;
    let (memo, loads) = (memo(&redis), Loads::default());
    server.stop();
    assert_eq!(
        memo.get_or_try_set(7, || loads.load(7)).await,
        Ok(product(7))
    );
    assert_eq!(loads.count(), 1);
}

#[tokio::test]
async fn what_cannot_be_encoded_is_loaded_each_time() {
    let server = Server::shared();
    let redis = server.redis().await;
    let memo: Memo<std::collections::BTreeMap<(u8, u8), u8>> = memo(&redis);
    let value: std::collections::BTreeMap<_, _> = [((1, 2), 3)].into();
    let loaded = memo
        .get_or_try_set(7, || async { Ok::<_, ()>(value.clone()) })
        .await;
    assert_eq!(loaded, Ok(value.clone()));
    assert!(memo.set(7, &value).await.expect_err("an error").is_codec());
    // The same for keys.
    assert!(memo.get(&value).await.expect_err("an error").is_codec());
    let loaded = memo
        .get_or_try_set(&value, || async { Ok::<_, ()>(value.clone()) })
        .await;
    assert_eq!(loaded, Ok(value.clone()));
}
