//! Many hits of one URL at the same time.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::CacheLayer;

use super::outage::{ask, site};
use crate::{
    cache::{fresh, request},
    support::{
        Server,
        proxy::{Mode, Proxy},
        server::{handle_with, namespace},
    },
};

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Each hit sent its own command: of 2,000 at once, more than fit in flight went to the handler, and Redis counted as down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_hits_at_once_are_a_handful_of_commands() {
    let server = Server::start();
    let redis = handle_with(&server.url(), |builder| builder).await;
    let calls = Arc::default();
    let page = site(&CacheLayer::new(redis.clone()), &calls, Duration::ZERO);
    timeout(MINUTE, async { while !ask(&page).await {} })
        .await
        .expect("stored");
    let before = calls.load(Ordering::SeqCst);
    let mut health = redis.watch_health();
    health.borrow_and_update();
    for _ in 0..3 {
        let (counts, hits) = server
            .count(join_all((0..2000).map(|_| {
                let page = page.clone();
                tokio::spawn(async move { ask(&page).await })
            })))
            .await;
        let hits = hits
            .into_iter()
            .filter(|hit| *hit.as_ref().expect("an answer"));
        assert_eq!(hits.count(), 2000);
        // A new read begins every 50 ms, and while few run each request has its own.
        assert!(counts.of("get") <= 40, "{counts:?}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), before);
    assert!(!health.has_changed().expect("a handle"), "never down");
}

/// What a shared read brings may be from before a purge or an unsafe request: who comes after it does not use it.
#[tokio::test]
async fn who_comes_after_a_change_does_not_use_a_read_from_before_it() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let name = namespace();
    let set = |builder: tower_fred::redis::RedisBuilder| {
        builder.namespace(&name).deadline(Duration::from_secs(10))
    };
    let here = handle_with(&proxy.url(), set).await;
    let there = handle_with(&server.url(), set).await;
    let version = Arc::new(AtomicUsize::new(0));
    let layer = |redis| CacheLayer::new(redis);
    let handler = {
        let version = Arc::clone(&version);
        service_fn(move |_: Request<Body>| {
            let version = version.load(Ordering::SeqCst).to_string();
            async move { Ok::<_, Infallible>(fresh(version)) }
        })
    };
    let (near, far) = (
        layer(here.clone()).layer(handler.clone()),
        layer(there.clone()).layer(handler),
    );
    async fn read<B>(response: Response<B>) -> usize
    where
        B: axum::body::HttpBody<Data = bytes::Bytes>,
        B::Error: std::fmt::Debug,
    {
        let body = response.into_body().collect().await.expect("a body");
        let text = String::from_utf8(body.to_bytes().to_vec()).expect("text");
        text.parse().expect("a version")
    }
    let get = async |path: &str| {
        let asked = near.clone().oneshot(request("GET", path, &[]));
        read(asked.await.expect("an answer")).await
    };
    proxy.set(Mode::Delay(60 * MS));
    for round in 0..12 {
        // More than few, and some of them under way at any time.
        let readers = join_all((0..60u32).map(|number| {
            let get = &get;
            async move {
                tokio::time::sleep(number * 4 * MS).await;
                get("/page").await
            }
        }));
        let change = async {
            tokio::time::sleep(120 * MS).await;
            let new = version.fetch_add(1, Ordering::SeqCst) + 1;
            if round % 2 == 0 {
                let url = "http://shop.example/page".parse().expect("a URL");
                there.purge().url(&url).await.expect("purged");
            } else {
                let posted = far.clone().oneshot(request("POST", "/page", &[]));
                read(posted.await.expect("an answer")).await;
            }
            (new, get("/page").await)
        };
        let (_, (new, got)) = tokio::join!(readers, change);
        assert_eq!(got, new, "round {round}");
    }
}
