//! What a purge takes out of use, on all nodes.

use std::time::Duration;

use tower_fred::{Redis, memo::Memo};

use super::until_log_is_read;
use crate::support::{Server, server::namespace, topology::Cluster};

pub const MINUTE: Duration = Duration::from_secs(60);

/// Two handles of one namespace: they share nothing in this process, as two nodes do.
pub async fn nodes(url: &str) -> (Redis, Redis) {
    let namespace = namespace();
    let connect = async || {
        let builder = Redis::builder().namespace(&namespace);
        let builder = builder.deadline(Duration::from_secs(5));
        builder.connect(url).await.expect("a handle")
    };
    (connect().await, connect().await)
}

/// Numbers, tagged by their parity, with a near tier.
pub fn numbers(redis: &Redis) -> Memo<u64> {
    Memo::new(redis.clone(), "numbers", MINUTE)
        .near(1 << 20)
        .tag("numbers")
        .tags_by(|number| vec![format!("parity:{}", number % 2)])
}

/// Reads twice: then the value is in the near tier.
pub async fn warm(memo: &Memo<u64>, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        for _ in 0..3 {
            assert_eq!(memo.get(number).await.expect("get"), Some(number));
        }
    }
}

/// The numbers below ten that are there.
pub async fn left(memo: &Memo<u64>) -> Vec<u64> {
    let found = memo.get_many(0..10).await.expect("values");
    found.into_iter().flatten().collect()
}

#[tokio::test]
async fn it_takes_what_it_names_on_every_node() {
    let server = Server::shared();
    let (here, there) = nodes(&server.url()).await;
    let (near, far) = (numbers(&here), numbers(&there));
    let fill = async || {
        for number in 0..10 {
            near.set(number, &number).await.expect("set");
        }
        warm(&near, 0..10).await;
        warm(&far, 0..10).await;
    };
    let purge = here.purge();

    fill().await;
    purge.tag("parity:1").await.expect("purged");
    assert_eq!(left(&near).await, [0, 2, 4, 6, 8], "at once");
    until_log_is_read().await;
    assert_eq!(left(&far).await, [0, 2, 4, 6, 8]);

    fill().await;
    purge.tags(["parity:0", "parity:1"]).await.expect("purged");
    assert!(left(&near).await.is_empty());
    until_log_is_read().await;
    assert!(left(&far).await.is_empty());

    fill().await;
    purge.tag("another").await.expect("purged");
    purge.tags([""; 0]).await.expect("nothing");
    until_log_is_read().await;
    assert_eq!(left(&near).await.len(), 10);
    assert_eq!(left(&far).await.len(), 10);

    purge.all().await.expect("purged");
    assert!(left(&near).await.is_empty());
    until_log_is_read().await;
    assert!(left(&far).await.is_empty());

    // What is set or invalidated on one node is known to the other.
    fill().await;
    near.set(1, &11).await.expect("set");
    assert!(near.invalidate(2).await.expect("invalidated"));
    until_log_is_read().await;
    assert_eq!(far.get(1).await.expect("get"), Some(11));
    assert_eq!(far.get(2).await.expect("get"), None);
}

#[tokio::test]
async fn it_wins_over_a_load_that_runs_meanwhile() {
    let server = Server::shared();
    let (here, there) = nodes(&server.url()).await;
    let (near, far) = (numbers(&here), numbers(&there));
    for way in 0..4 {
        let (began, go) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
        let mut load = Box::pin(near.get_or_set(7, async || {
            began.notify_one();
            go.notified().await;
            7
        }));
        tokio::select! {
            _ = &mut load => panic!("it waits"),
            () = began.notified() => {}
        }
        // By the node that loads, and by another one.
        match way {
            0 => here.purge().tag("parity:1").await.expect("purged"),
            1 => there.purge().tag("parity:1").await.expect("purged"),
            2 => there.purge().all().await.expect("purged"),
            _ => drop(far.invalidate(7).await.expect("invalidated")),
        }
        go.notify_one();
        assert_eq!(load.await, 7, "who asked before gets it");
        until_log_is_read().await;
        for _ in 0..3 {
            assert_eq!(near.get(7).await.expect("get"), None, "{way}");
            assert_eq!(far.get(7).await.expect("get"), None, "{way}");
        }
        // What is made afterwards stays.
        assert_eq!(far.get_or_set(7, async || 7).await, 7);
        while near.get(7).await.expect("get").is_none() {
            tokio::task::yield_now().await;
        }
        near.invalidate(7).await.expect("invalidated");
    }
}

#[tokio::test]
async fn who_comes_after_a_purge_does_not_wait_for_an_old_load() {
    let server = Server::shared();
    let (here, _) = nodes(&server.url()).await;
    let memo = numbers(&here);
    let began = tokio::sync::Notify::new();
    let mut stuck = Box::pin(memo.get_or_set(7, async || {
        began.notify_one();
        std::future::pending().await
    }));
    tokio::select! {
        _ = &mut stuck => panic!("it never ends"),
        () = began.notified() => {}
    }
    memo.invalidate(7).await.expect("invalidated");
    assert_eq!(memo.get_or_set(7, async || 8).await, 8);
}

#[tokio::test]
async fn a_soft_one_leaves_what_may_be_used_while_it_is_made_anew() {
    let server = Server::shared();
    let (here, _) = nodes(&server.url()).await;
    let memo = |name: &str| -> Memo<u64> {
        Memo::new(here.clone(), name, MINUTE)
            .near(1 << 20)
            .tag("soft")
    };
    let plain = memo("plain");
    let patient = memo("patient").stale_while_revalidate(MINUTE);
    let safe = memo("safe").stale_if_error(MINUTE);
    let safe = safe.error_pause(Duration::from_millis(1));
    for memo in [&plain, &patient, &safe] {
        memo.set(1, &1).await.expect("set");
        warm(memo, [1]).await;
    }
    here.purge().soft().tag("soft").await.expect("purged");
    assert_eq!(plain.get(1).await.expect("get"), None);
    assert_eq!(patient.get(1).await.expect("get"), Some(1));
    assert_eq!(
        patient.get_or_set(1, async || 2).await,
        2,
        "made anew by one"
    );
    assert_eq!(safe.get(1).await.expect("get"), None);
    assert_eq!(safe.get_or_try_set(1, async || Err(())).await, Ok(1));
    // Tried again after the pause.
    while safe.get_or_try_set(1, async || Ok::<_, ()>(2)).await != Ok(2) {
        tokio::task::yield_now().await;
    }
    // What is new is not stale.
    while safe.get(1).await.expect("get") != Some(2) {
        tokio::task::yield_now().await;
    }
    // A hard one leaves nothing.
    here.purge().tag("soft").await.expect("purged");
    for memo in [&plain, &patient, &safe] {
        assert_eq!(memo.get(1).await.expect("get"), None);
    }
    assert_eq!(safe.get_or_try_set(1, async || Err(())).await, Err(()));
}

#[tokio::test]
async fn it_works_in_a_cluster() {
    let cluster = Cluster::start().await;
    let (here, there) = nodes(&cluster.url_with("")).await;
    let (near, far) = (numbers(&here), numbers(&there));
    for number in 0..10 {
        near.get_or_set(number, async || number).await;
    }
    while left(&far).await.len() < 10 {
        tokio::task::yield_now().await;
    }
    warm(&far, 0..10).await;
    here.purge().tag("parity:1").await.expect("purged");
    assert_eq!(left(&near).await, [0, 2, 4, 6, 8]);
    until_log_is_read().await;
    assert_eq!(left(&far).await, [0, 2, 4, 6, 8]);
}

#[tokio::test]
async fn it_tells_when_redis_did_not_confirm_it() {
    let server = Server::start();
    let redis = server.redis().await;
    server.kill();
    let error = redis.purge().tag("a").await.expect_err("an error");
    assert!(error.is_unavailable(), "{error:?}");
}
