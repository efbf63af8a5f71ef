//! Answers that come just before the deadline: one request waits for one deadline in all.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer, Redis,
    rate_limit::{Header, Policy, Quota, RateLimiter},
};

use crate::support::{
    Server,
    proxy::{Mode, Proxy},
    server::{handle_with, namespace},
    topology::{Cluster, run},
    until,
};

const DEADLINE: Duration = Duration::from_millis(500);
const DELAY: Duration = Duration::from_millis(400);
/// A busy machine needs some time too.
const MOST: Duration = Duration::from_millis(700);

/// A caller waited for the batches of those before it, one after the other, and then asked for one of its own.
#[tokio::test]
async fn callers_that_share_batches_wait_for_one_deadline() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let redis = handle_with(&proxy.url(), |builder| builder.deadline(DEADLINE)).await;
    let limiter = RateLimiter::new(redis, Quota::per_day(1_000)).local_batch(100);
    limiter.check("warm").await.expect("a decision");
    proxy.set(Mode::Delay(DELAY));
    let calls = (0..5).map(|_| async {
        let began = Instant::now();
        let is_decided = limiter.check("alice").await.is_ok();
        (is_decided, began.elapsed())
    });
    let answers = join_all(calls).await;
    assert!(answers[0].0, "the first one asked");
    for (_, took) in answers {
        assert!(took < MOST, "{took:?}");
    }
}

async fn ask(
    layer: &RateLimitLayer<impl tower_fred::rate_limit::Key + Clone>,
    account: &str,
) -> StatusCode {
    let service = layer.layer(service_fn(async |_: Request<String>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let request = Request::get("/")
        .header("x-address", "a")
        .header("x-account", account);
    let request = request.body(String::new()).expect("a request");
    service.oneshot(request).await.expect("an answer").status()
}

/// In a cluster, a request that one of its subjects denies waited for the refund of the others too.
#[tokio::test]
async fn a_denial_in_a_cluster_waits_for_one_deadline() {
    let cluster = Cluster::start().await;
    let mut proxies = Vec::new();
    for (index, server) in cluster.servers.iter().enumerate() {
        let proxy = Proxy::start(server.port()).await;
        let port = proxy.url().rsplit(':').next().expect("a port").to_owned();
        let set = ["SET", "cluster-announce-port", &port];
        run::<String>(cluster.admin(index), "CONFIG", &set)
            .await
            .expect("set");
        proxies.push((proxy, port));
    }
    until("ports that all know", async || {
        let mut all = true;
        for index in 0..3 {
            let nodes: String = run(cluster.admin(index), "CLUSTER", &["NODES"])
                .await
                .expect("nodes");
            all &= proxies
                .iter()
                .all(|(_, port)| nodes.contains(&format!(":{port}@")));
        }
        all
    })
    .await;
    let name = namespace();
    let url = proxies[0].0.url().replace("redis://", "redis-cluster://");
    let connect =
        async || handle_with(&url, |builder| builder.namespace(&name).deadline(DEADLINE)).await;
    let layer = |redis: &Redis| {
        let header = |name| Header::new(http::HeaderName::from_static(name));
        RateLimitLayer::new(redis.clone(), Policy::new("address", Quota::per_day(1_000)))
            .by(header("x-address"))
            .and_by(
                header("x-account"),
                Policy::new("account", Quota::per_day(1)),
            )
            .fail_closed()
    };
    let (here, there) = (layer(&connect().await), layer(&connect().await));
    let denied = StatusCode::TOO_MANY_REQUESTS;
    for account in ["u1", "u2", "u3", "u4"] {
        assert_eq!(ask(&there, account).await, StatusCode::OK);
    }
    // The servers have all scripts now.
    assert_eq!(ask(&here, "u1").await, denied);
    for (proxy, _) in &proxies {
        proxy.set(Mode::Delay(DELAY));
    }
    for account in ["u2", "u3", "u4"] {
        let began = Instant::now();
        assert_eq!(ask(&here, account).await, denied);
        assert!(began.elapsed() < MOST, "{:?}", began.elapsed());
    }
}
