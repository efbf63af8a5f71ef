//! Searches for keys and policies, and requests that need none.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode, request::Parts};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer, Session, SessionLayer, SessionUser,
    rate_limit::{AsyncKey, Decision, Key, Policy, Quota},
};

use crate::{rate_limit::patient, support::Server};

fn address(_: &Parts) -> Option<u64> {
    Some(1)
}

/// The statuses and the policies that refuse.
async fn ask<K: Key>(layer: &RateLimitLayer<K>, requests: usize) -> Vec<(StatusCode, String)> {
    let service = layer.layer(service_fn(async |_: Request<String>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let mut answers = Vec::new();
    for _ in 0..requests {
        let response = service
            .clone()
            .oneshot(Request::new(String::new()))
            .await
            .unwrap();
        let decision = response.extensions().get::<Decision>().expect("a decision");
        answers.push((response.status(), decision.standing().policy().to_owned()));
    }
    answers
}

/// Of a hundred requests 99 were denied by the address, and each was looked up.
#[tokio::test]
async fn a_known_denial_is_told_before_anything_is_looked_up() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let searches = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&searches);
    let owner = AsyncKey::new(move |_: &Parts| {
        let counter = Arc::clone(&counter);
        async move {
            counter.fetch_add(1, Ordering::Relaxed);
            Some(7_u64)
        }
    });
    let counter = Arc::clone(&searches);
    let first = RateLimitLayer::new(redis.clone(), Policy::new("address", Quota::per_day(1)))
        .by(address as fn(&Parts) -> Option<u64>)
        .and_by(owner, Policy::new("owner", Quota::per_day(1_000)))
        .fail_closed();
    let owner = AsyncKey::new(move |_: &Parts| {
        let counter = Arc::clone(&counter);
        async move {
            counter.fetch_add(1, Ordering::Relaxed);
            Some(7_u64)
        }
    });
    // The search is that of the layer's own key, which comes first.
    let last = RateLimitLayer::new(redis, Policy::new("owner-too", Quota::per_day(1_000)))
        .by(owner)
        .and_by(
            address as fn(&Parts) -> Option<u64>,
            Policy::new("address-too", Quota::per_day(1)),
        )
        .fail_closed();
    check(&ask(&first, 100).await, "address");
    // One that is admitted, and one that Redis denies.
    assert_eq!(searches.swap(0, Ordering::Relaxed), 2);
    check(&ask(&last, 100).await, "address-too");
    assert_eq!(searches.load(Ordering::Relaxed), 2);
}

fn check(answers: &[(StatusCode, String)], policy: &str) {
    assert_eq!(answers[0].0, StatusCode::OK);
    for (status, refused_by) in &answers[1..] {
        assert_eq!(
            (*status, &**refused_by),
            (StatusCode::TOO_MANY_REQUESTS, policy)
        );
    }
}

#[tokio::test]
async fn nor_are_the_policies_of_a_tier() {
    let server = Server::shared();
    let searches = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&searches);
    let layer = RateLimitLayer::new(
        patient(&server).await,
        Policy::new("tenant", Quota::per_day(50)),
    )
    .by(|_: &Parts| Some(2_u64))
    .policies_from(Duration::ZERO, move |_: &Parts| {
        let counter = Arc::clone(&counter);
        async move {
            counter.fetch_add(1, Ordering::Relaxed);
            None
        }
    })
    .and_by(
        address as fn(&Parts) -> Option<u64>,
        Policy::new("address", Quota::per_day(1)),
    )
    .fail_closed();
    check(&ask(&layer, 20).await, "address");
    // What the function makes is not run any more.
    assert_eq!(searches.load(Ordering::Relaxed), 2);
}

/// A session is not read for a request that the address is denied for.
#[tokio::test]
async fn sessions_are_not_read_for_known_denials() {
    let server = Server::start();
    let redis = patient(&server).await;
    let limit = RateLimitLayer::new(redis.clone(), Policy::new("address", Quota::per_day(2)))
        .by(address as fn(&Parts) -> Option<u64>)
        .and_by(SessionUser, Policy::new("user", Quota::per_day(1_000)));
    let app = tower::ServiceBuilder::new()
        .layer(SessionLayer::new(redis))
        .layer(limit)
        .service(service_fn(async |request: Request<String>| {
            let session = request
                .extensions()
                .get::<Session>()
                .expect("a session")
                .clone();
            session.insert("seen", &1_u64).expect("stored");
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
    let response = app
        .clone()
        .oneshot(Request::new(String::new()))
        .await
        .unwrap();
    let cookie = response.headers()["set-cookie"].clone();
    let send = async || {
        let request = Request::get("/").header(
            "cookie",
            cookie.to_str().unwrap().split(';').next().unwrap(),
        );
        app.clone()
            .oneshot(request.body(String::new()).unwrap())
            .await
            .unwrap()
            .status()
    };
    assert_eq!(send().await, StatusCode::OK);
    assert_eq!(send().await, StatusCode::TOO_MANY_REQUESTS);
    let (counts, status) = server.count(send()).await;
    assert_eq!(
        (status, counts.total()),
        (StatusCode::TOO_MANY_REQUESTS, 0),
        "{counts:?}"
    );
}
