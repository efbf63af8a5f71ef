//! Redis gone, and Redis silent.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer,
    rate_limit::{Header, Quota, RateLimiter},
};

use crate::support::{Server, server::until_served};

const NAME: http::HeaderName = http::HeaderName::from_static("x-client");
const THREE: Quota = Quota::per_day(3);

type Calls = Arc<AtomicUsize>;

/// A service behind `layer` that counts its calls.
fn service<L, S>(layer: &L) -> (S, Calls)
where
    L: Layer<Inner, Service = S>,
{
    let calls = Calls::default();
    let counter = Arc::clone(&calls);
    let inner: Inner = tower::util::BoxCloneService::new(service_fn(move |_: Request<String>| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { Ok(Response::new(String::new())) }
    }));
    (layer.layer(inner), calls)
}

type Inner = tower::util::BoxCloneService<Request<String>, Response<String>, Infallible>;

/// The statuses of so many requests of a client.
async fn send<S, B>(service: &S, client: &str, requests: usize) -> Vec<StatusCode>
where
    S: Service<Request<String>, Response = Response<B>, Error = Infallible> + Clone,
{
    let mut statuses = Vec::new();
    for _ in 0..requests {
        let request = Request::get("/").header(NAME, client);
        let request = request.body(String::new()).expect("a request");
        let Ok(response) = service.clone().oneshot(request).await;
        let unavailable = response.status() == StatusCode::SERVICE_UNAVAILABLE;
        assert!(!unavailable || response.headers()[RETRY_AFTER] == "1");
        statuses.push(response.status());
    }
    statuses
}

const OK: StatusCode = StatusCode::OK;
const DENIED: StatusCode = StatusCode::TOO_MANY_REQUESTS;
const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

async fn layer(server: &Server) -> RateLimitLayer<Header> {
    RateLimitLayer::new(server.redis().await, THREE).by(Header::new(NAME))
}

#[tokio::test]
async fn open_lets_all_pass() {
    let server = Server::start();
    let (service, calls) = service(&layer(&server).await.fail_open());
    assert_eq!(send(&service, "a", 3).await, [OK; 3]);
    assert_eq!(send(&service, "b", 4).await, [OK, OK, OK, DENIED]);
    server.kill();
    assert_eq!(send(&service, "a", 5).await, [OK; 5]);
    // What is known to be denied is, with Redis or without.
    assert_eq!(send(&service, "b", 2).await, [DENIED; 2]);
    assert_eq!(calls.load(Ordering::Relaxed), 11);
}

#[tokio::test]
async fn closed_lets_none_pass() {
    let server = Server::start();
    let (service, calls) = service(&layer(&server).await.fail_closed());
    assert_eq!(send(&service, "a", 1).await, [OK]);
    server.kill();
    assert_eq!(send(&service, "a", 3).await, [UNAVAILABLE; 3]);
    assert_eq!(send(&service, "b", 2).await, [UNAVAILABLE; 2]);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn local_is_the_default_and_keeps_the_quota() {
    let server = Server::start();
    for chosen in [false, true] {
        let redis = server.redis().await;
        let layer = RateLimitLayer::new(redis.clone(), THREE).by(Header::new(NAME));
        let layer = if chosen {
            layer.fail_open().fail_local()
        } else {
            layer
        };
        let (first, _) = service(&layer);
        assert_eq!(send(&first, "a", 2).await, [OK, OK]);
        server.kill();
        assert_eq!(send(&first, "a", 5).await, [OK, OK, OK, DENIED, DENIED]);
        assert_eq!(send(&first, "b", 4).await, [OK, OK, OK, DENIED]);
        // A router makes many services of one layer: they count together.
        let (second, _) = service(&layer.clone());
        assert_eq!(send(&second, "a", 1).await, [DENIED]);

        // Redis has lost its data, so its quotas start afresh.
        server.restart();
        until_served(&redis).await;
        assert_eq!(send(&first, "a", 4).await, [OK, OK, OK, DENIED]);
    }
}

#[tokio::test]
async fn a_silent_server_is_a_failure() {
    let server = Server::start();
    let layer = layer(&server).await;
    let (open, _) = service(&layer.clone().fail_open());
    let (closed, _) = service(&layer.clone().fail_closed());
    let (local, _) = service(&layer);
    assert_eq!(send(&local, "a", 1).await, [OK]);
    server.stop();
    assert_eq!(send(&open, "a", 1).await, [OK]);
    assert_eq!(send(&closed, "a", 1).await, [UNAVAILABLE]);
    assert_eq!(send(&local, "a", 4).await, [OK, OK, OK, DENIED]);
    server.resume();
}

#[tokio::test]
async fn the_object_says_what_failed() {
    let server = Server::start();
    let limiter = RateLimiter::new(server.redis().await, THREE);
    assert!(limiter.check("a").await.unwrap().is_allowed());
    server.stop();
    let error = limiter.check("a").await.unwrap_err();
    assert!(error.is_timeout() && error.is_unavailable(), "{error:?}");
    server.kill();
    let error = limiter.check("a").await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
}
