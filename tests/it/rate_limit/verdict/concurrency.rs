//! Places: how many requests are served at the same time.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::sync::mpsc;
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer,
    fred::clients::Client,
    rate_limit::{Decision, Policy, Quota, RateLimiter},
};

use super::until_held;
use crate::{
    rate_limit::{command, keys, only_key, patient},
    support::{Server, process, until},
};

#[tokio::test]
async fn a_decision_holds_its_place() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let limiter = RateLimiter::new(redis.clone(), Policy::concurrency("jobs", 2));
    let first = limiter.check("alice").await.unwrap();
    let second = limiter.check_n("alice", 1_000).await.unwrap();
    assert!(first.is_allowed() && second.is_allowed());
    assert_eq!((first.remaining(), second.remaining()), (1, 0));
    assert_eq!(first.standing().quota(), None);

    let Decision::Deny(denial) = limiter.check("alice").await.unwrap() else {
        panic!("admitted");
    };
    // Nobody knows when a place is free, so nothing is promised; but it will be.
    assert_eq!((denial.retry_after(), denial.is_permanent()), (None, false));
    assert!(limiter.check("bob").await.unwrap().is_allowed());

    let copy = first.clone();
    drop(first);
    assert!(!limiter.check("alice").await.unwrap().is_allowed());
    drop(copy);
    until_alone(&limiter, &admin, redis.namespace()).await;
}

/// Waits until Alice gets a place.
async fn until_alone(limiter: &RateLimiter, admin: &Client, namespace: &str) {
    for _ in 0..100_000 {
        if limiter
            .check("alice")
            .await
            .expect("as arranged")
            .is_allowed()
        {
            return;
        }
        let _ = keys(admin, namespace).await;
    }
    panic!("the place is not free again");
}

#[tokio::test]
async fn a_denial_elsewhere_takes_no_place() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let policies = [
        Policy::new("few", Quota::per_day(1)),
        Policy::concurrency("jobs", 5),
    ];
    let limiter = RateLimiter::new(redis.clone(), policies).no_denial_memory();
    let held = limiter.check("alice").await.unwrap();
    for _ in 0..9 {
        let decision = limiter.check("alice").await.unwrap();
        assert!(!decision.is_allowed());
        assert_eq!(decision.standings()[1].remaining(), 4);
    }
    // Peeking takes none either.
    limiter.reset("alice").await.unwrap();
    assert!(limiter.peek("alice").await.unwrap().is_allowed());
    assert!(keys(&admin, redis.namespace()).await.is_empty());
    drop(held);
}

/// A body of the test's frames.
struct Slow(mpsc::Receiver<&'static str>);

impl Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.poll_recv(context);
        next.map(|text| text.map(|text| Ok(Frame::data(text.into()))))
    }
}

fn one(_: &Parts) -> Option<u64> {
    Some(1)
}

#[tokio::test]
async fn a_response_holds_its_place_until_its_body_ends() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let namespace = redis.namespace().to_owned();
    let layer = RateLimitLayer::new(redis, Policy::concurrency("uploads", 2))
        .by(one)
        .fail_closed();
    let (bodies, take) = std::sync::mpsc::channel();
    let take = std::sync::Arc::new(std::sync::Mutex::new(take));
    let service = layer.layer(service_fn(move |request: Request<String>| {
        // The handler's copy of the decision does not hold the place.
        let _copy = request.extensions().get::<Decision>().cloned();
        let body = take.lock().unwrap().recv().unwrap();
        async move { Ok::<_, Infallible>(Response::new(Slow(body))) }
    }));
    let send = async || {
        let (send, receive) = mpsc::channel(4);
        bodies.send(receive).unwrap();
        let response = service
            .clone()
            .oneshot(Request::new(String::new()))
            .await
            .unwrap();
        (send, response)
    };
    let (first, response) = send().await;
    let (second, dropped) = send().await;
    let (_, denied) = send().await;
    assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(!denied.headers().contains_key("retry-after"));
    assert_eq!(denied.headers()["ratelimit"], r#""uploads";r=0"#);

    // One ends, and its response is still there; one is dropped half-way, as by a client that goes away.
    until_held(&admin, &namespace, 2).await;
    first.send("all").await.unwrap();
    drop(first);
    let (parts, body) = response.into_parts();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "all");
    until_held(&admin, &namespace, 1).await;
    drop((parts, second));
    drop(dropped);
    until_held(&admin, &namespace, 0).await;
    drop(denied);
    let (_, response) = send().await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn errors_panics_and_callers_that_leave_give_places_back() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let namespace = redis.namespace().to_owned();
    let layer = RateLimitLayer::new(redis, Policy::concurrency("jobs", 1))
        .by(one)
        .fail_closed();
    let failing = layer.layer(service_fn(async |_: Request<String>| {
        Err::<Response<Full<Bytes>>, _>("broken")
    }));
    assert!(failing.oneshot(Request::new(String::new())).await.is_err());
    until_held(&admin, &namespace, 0).await;

    let panicking = layer.layer(service_fn(async |request: Request<String>| {
        assert!(
            request.extensions().get::<Decision>().is_none(),
            "a handler that panics"
        );
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let task = tokio::spawn(panicking.oneshot(Request::new(String::new())));
    assert!(task.await.unwrap_err().is_panic());
    until_held(&admin, &namespace, 0).await;

    let endless = layer.layer(service_fn(async |_: Request<String>| {
        std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
    }));
    let task = tokio::spawn(endless.oneshot(Request::new(String::new())));
    until_held(&admin, &namespace, 1).await;
    task.abort();
    until_held(&admin, &namespace, 0).await;
}

#[tokio::test]
async fn a_long_request_keeps_its_place() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let lease = Duration::from_secs(2);
    let limiter = RateLimiter::new(redis.clone(), Policy::concurrency("jobs", 1).lease(lease));
    let held = limiter.check("alice").await.unwrap();
    assert!(held.is_allowed());
    let key = only_key(&admin, redis.namespace()).await;
    let score = async || -> String {
        let members: Vec<String> =
            command(&admin, "ZRANGE", &[&key, "0", "-1", "WITHSCORES"]).await;
        members[1].clone()
    };
    // It is renewed again and again; without that it would be over after the first.
    let mut last = score().await;
    for _ in 0..3 {
        let mut next = last.clone();
        while next == last {
            next = score().await;
        }
        last = next;
        assert!(!limiter.check("alice").await.unwrap().is_allowed());
    }
}

#[tokio::test]
async fn the_places_of_a_process_that_crashed_are_free_after_their_time() {
    let server = Server::start();
    let admin = server.admin().await;
    let mut child = process::start("rate_limit::verdict::concurrency::crashing", &server.url());
    let taken: Option<(String, String)> = command(&admin, "BLPOP", &["taken", "60"]).await;
    assert!(taken.is_some(), "the process does not come up");
    child.kill().unwrap();
    child.wait().unwrap();

    let redis = tower_fred::Redis::builder()
        .namespace("crash")
        .deadline(Duration::from_secs(20))
        .connect(&server.url())
        .await
        .unwrap();
    let limiter = RateLimiter::new(redis, crash_policy());
    assert!(!limiter.check("alice").await.unwrap().is_allowed());
    let key = only_key(&admin, "crash").await;
    // Nobody renews them, so the key goes with the last.
    until("the end of the key", async || {
        command::<i64>(&admin, "PTTL", &[&key]).await < 0
    })
    .await;
    let places = [
        limiter.check("alice").await.unwrap(),
        limiter.check("alice").await.unwrap(),
    ];
    assert!(places.iter().all(Decision::is_allowed));
}

fn crash_policy() -> Policy {
    Policy::concurrency("jobs", 2).lease(Duration::from_secs(3))
}

/// Another process of the test above: it takes all places, and is killed.
#[tokio::test]
async fn crashing() {
    let Some(url) = process::input() else { return };
    let redis = tower_fred::Redis::builder().namespace("crash");
    let redis = redis
        .deadline(Duration::from_secs(20))
        .connect(&url)
        .await
        .unwrap();
    let limiter = RateLimiter::new(redis.clone(), crash_policy());
    let _places = [
        limiter.check("alice").await.unwrap(),
        limiter.check("alice").await.unwrap(),
    ];
    let _: i64 = command(&redis.client(), "RPUSH", &["taken", "1"]).await;
    std::future::pending::<()>().await;
}
