//! The near tier: how soon it has what another node has stored.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};
use tower_fred::{CacheLayer, Redis, cache::Cache, fred::clients::Client, memo::Memo};

use super::purge::{MINUTE, nodes, numbers, warm};
use crate::{
    cache::{Origin, fresh, request},
    support::{
        Server, patiently,
        topology::{Cluster, run},
    },
};

/// Regression: a stale near copy hid the entry that another node had stored in its place.
#[tokio::test]
async fn a_stale_copy_does_not_hide_what_was_made_anew() {
    let server = Server::shared();
    let (here, there) = nodes(&server.url()).await;
    let memo = |redis: &Redis| -> Memo<u64> {
        Memo::new(redis.clone(), "numbers", MINUTE)
            .near(1 << 20)
            .stale_while_revalidate(MINUTE)
            .tag("soft")
    };
    let (near, far) = (memo(&here), memo(&there));
    near.set(1, &1).await.expect("set");
    warm(&near, [1]).await;
    here.purge().soft().tag("soft").await.expect("purged");
    assert_eq!(near.get(1).await.expect("get"), Some(1), "stale");
    assert_eq!(far.get_or_set(1, async || 2).await, 2);
    tokio::time::timeout(MINUTE, async {
        while near.get(1).await.expect("get") != Some(2) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the new one");
}

/// Regression: a near copy was used to the end of its lifetime after another node had replaced its entry, whether the copy
/// was in use all the time or not.
#[tokio::test]
async fn a_copy_ends_within_a_second_of_its_entry() {
    for cluster in [None, Some(Cluster::start().await)] {
        let server = Server::shared();
        let url = cluster.as_ref().map_or(server.url(), Cluster::url);
        let admins = match &cluster {
            Some(cluster) => cluster.primaries().to_vec(),
            None => vec![server.admin().await],
        };
        let (here, there) = nodes(&url).await;
        for is_used in [true, false] {
            let (near, far) = (numbers(&here), numbers(&there));
            near.set(1, &1).await.expect("set");
            warm(&near, [1]).await;
            replace(&far, &admins, here.namespace()).await;
            let replaced = Instant::now();
            while replaced.elapsed() < SECOND {
                if !is_used {
                    // A copy that is not used is compared after this time, when it is used again.
                    tokio::time::sleep(SECOND).await;
                } else if near.get(1).await.expect("get") == Some(2) {
                    break;
                }
            }
            assert_eq!(
                near.get(1).await.expect("get"),
                Some(2),
                "in use: {is_used}"
            );
            near.invalidate(1).await.expect("invalidated");
        }
    }
}

/// The same for responses: on another node, a client has a response made anew that was still fresh.
#[tokio::test]
async fn a_copy_of_a_response_ends_within_a_second_of_its_entry() {
    let server = Server::shared();
    let (here, there) = nodes(&server.url()).await;
    let site = |redis, body: &'static str| {
        let layer = CacheLayer::new(redis).near(1 << 20);
        layer.layer(Origin::new(move |_| fresh(body)))
    };
    let (near, far) = (site(here, "first"), site(there, "second"));
    let get = async |service: &Cache<Origin>, fields| {
        let asked = service.clone().oneshot(request("GET", "/a", fields));
        let body = asked.await.expect("an answer").into_body();
        body.collect().await.expect("a body").to_bytes()
    };
    for _ in 0..10 {
        assert_eq!(get(&near, &[]).await, "first");
    }
    while get(&far, &[]).await != "first" {}
    get(&far, &[("cache-control", "no-cache")]).await;
    patiently("the new one", async {
        while get(&far, &[]).await != "second" {}
    })
    .await;
    // After this time no near copy may be the old one.
    tokio::time::sleep(SECOND).await;
    assert_eq!(get(&near, &[]).await, "second");
}

/// A near copy is compared at intervals, however often it is used.
#[tokio::test]
async fn a_copy_is_compared_once_in_a_while() {
    let server = Server::start();
    let redis = server.redis().await;
    let memo = numbers(&redis);
    memo.set(1, &1).await.expect("set");
    warm(&memo, [1]).await;
    let began = Instant::now();
    let (counts, ()) = server
        .count(async {
            while began.elapsed() < 3 * SECOND {
                assert_eq!(memo.get(1).await.expect("get"), Some(1));
                tokio::task::yield_now().await;
            }
        })
        .await;
    assert!((1..=6).contains(&counts.of("getrange")), "{counts:?}");
    assert!(counts.of("get") <= 2, "{counts:?}");
}

/// Replaces the entry of 1 with a 2, as a renewal does. `admins` are connections to all servers that may have it.
async fn replace(far: &Memo<u64>, admins: &[Client], namespace: &str) {
    let pattern = format!("{namespace}:m:*");
    for admin in admins {
        let keys: Vec<String> = run(admin, "KEYS", &[&pattern]).await.expect("KEYS");
        for key in keys {
            let _: i64 = run(admin, "DEL", &[&key]).await.expect("DEL");
        }
    }
    assert_eq!(far.get_or_set(1, async || 2).await, 2);
    while far.get(1).await.expect("get") != Some(2) {}
}

const SECOND: Duration = Duration::from_secs(1);
