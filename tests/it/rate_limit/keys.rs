//! Whom a request counts against.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode, request::Parts};
use http_body_util::Full;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer, Redis,
    rate_limit::{Header, Identity, Key, PeerAddr, Quota, RateLimiter},
};

use super::patient;
use crate::support::{Server, http::HttpServer};

const TWO: Quota = Quota::per_day(2);
/// Only what Redis decides shall count.
fn limit(redis: Redis, quota: Quota) -> RateLimitLayer {
    RateLimitLayer::new(redis, quota).fail_closed()
}

const OK: StatusCode = StatusCode::OK;
const DENIED: StatusCode = StatusCode::TOO_MANY_REQUESTS;

/// The statuses that a layer answers these requests with.
async fn statuses<K: Key>(
    layer: &RateLimitLayer<K>,
    requests: Vec<Request<()>>,
) -> Vec<StatusCode> {
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(service.clone().oneshot(request).await.unwrap().status());
    }
    statuses
}

fn with<T: Clone + Send + Sync + 'static>(extension: T) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(extension);
    request
}

fn socket(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), 4711)
}

#[tokio::test]
async fn the_peer_of_axum() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let router = Router::new()
        .route("/", get(async || "hello").post(async || "posted"))
        .layer(limit(redis.clone(), Quota::per_day(3)));
    let server = HttpServer::axum(router).await;
    // It comes from the connection, whatever the header fields claim.
    for (expected, claim) in [
        (OK, "192.0.2.1"),
        (OK, "192.0.2.2"),
        (OK, "192.0.2.3"),
        (DENIED, "192.0.2.4"),
    ] {
        let claims = [("x-forwarded-for", claim), ("forwarded", "for=192.0.2.9")];
        assert_eq!(server.get("/", &claims).await.status(), expected);
    }
    let limiter = RateLimiter::new(redis, Quota::per_day(3));
    let here: IpAddr = "127.0.0.1".parse().unwrap();
    assert!(!limiter.check(here).await.unwrap().is_allowed());
}

#[tokio::test]
async fn the_peer_of_plain_hyper() {
    let server = Server::shared();
    let redis = patient(&server).await;
    // Stands for the loop that accepts connections: the test says in a header field whose request it is.
    let peer = |mut request: Request<_>| {
        let headers: &http::HeaderMap = request.headers();
        let ip = headers["x-test-peer"].to_str().unwrap();
        let peer = PeerAddr(socket(ip));
        request.extensions_mut().insert(peer);
        request
    };
    let service = ServiceBuilder::new()
        .map_request(peer)
        .layer(limit(redis, TWO))
        .service(service_fn(async |_: Request<hyper::body::Incoming>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
        }));
    let server = HttpServer::hyper(service).await;
    for (peer, expected) in [
        ("192.0.2.1", OK),
        ("::ffff:192.0.2.1", OK),
        ("::ffff:c000:201", DENIED),
        ("192.0.2.2", OK),
        ("2001:db8::1", OK),
        ("2001:db8::abcd:1:2:3", OK),
        ("2001:db8::2", DENIED),
        ("2001:db8:0:1::1", OK),
    ] {
        let response = server.get("/", &[("x-test-peer", peer)]).await;
        assert_eq!(response.status(), expected, "{peer}");
    }
}

#[tokio::test]
async fn the_peer_from_any_extension() {
    use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};

    let server = Server::shared();
    let layer = limit(patient(&server).await, Quota::per_day(4));
    let address = socket("192.0.2.1");
    let requests = vec![
        with(PeerAddr(address)),
        with(ConnectInfo(address)),
        with(MockConnectInfo(address)),
        with(address),
        with(PeerAddr(address)),
    ];
    assert_eq!(statuses(&layer, requests).await, [OK, OK, OK, OK, DENIED]);

    // What the application says goes before what the connection is.
    let mut request = with(ConnectInfo(address));
    request
        .extensions_mut()
        .insert(PeerAddr(socket("192.0.2.2")));
    assert_eq!(statuses(&layer, vec![request]).await, [OK]);
}

#[tokio::test]
async fn a_header_field() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let name = HeaderName::from_static("x-api-key");
    let layer = limit(redis, TWO).by(Header::new(name.clone()));
    let long = vec![b'k'; 64 * 1024];
    let values: [&[u8]; 5] = [b"k1", b"k2", b"", b"\xff\xfe", &long];
    for value in values {
        let request = || {
            Request::get("/")
                .header(&name, value)
                .header(&name, "second")
        };
        let requests = (0..3).map(|_| request().body(()).unwrap()).collect();
        assert_eq!(statuses(&layer, requests).await, [OK, OK, DENIED]);
    }
}

#[tokio::test]
async fn functions_and_own_types() {
    struct Tenant;

    impl Key for Tenant {
        fn identity(&self, request: &Parts) -> Option<Identity> {
            Some(request.uri.path().into())
        }
    }

    let server = Server::shared();
    let redis = patient(&server).await;
    let by_path = |path: &str| Request::get(path).body(()).unwrap();
    let text = limit(redis.clone(), TWO).by(|parts: &Parts| Some(parts.uri.path().to_owned()));
    let number = limit(redis.clone(), TWO).by(|_: &Parts| Some(7));
    let own = limit(redis.clone(), TWO).by(Tenant);

    assert_eq!(
        statuses(&text, vec![by_path("/a"), by_path("/b")]).await,
        [OK, OK]
    );
    assert_eq!(
        statuses(&number, vec![by_path("/a"), by_path("/b"), by_path("/c")]).await,
        [OK, OK, DENIED]
    );
    // The same text is the same subject, whoever asks.
    assert_eq!(
        statuses(&own, vec![by_path("/a"), by_path("/a")]).await,
        [OK, DENIED]
    );
    let limiter = RateLimiter::new(redis, TWO);
    assert_eq!(limiter.check("/b").await.unwrap().remaining(), 0);
}

#[tokio::test]
async fn requests_without_a_key() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let requests = || (0..4).map(|_| Request::new(())).collect::<Vec<_>>();
    let layer = limit(redis, TWO);
    let allow = layer.clone().missing_key_allow();
    assert_eq!(statuses(&allow, requests()).await, [OK; 4]);
    let deny = layer.clone().missing_key_deny();
    assert_eq!(
        statuses(&deny, requests()).await,
        [StatusCode::BAD_REQUEST; 4]
    );
    // The default holds the limit, for all of them together.
    assert_eq!(statuses(&layer, requests()).await, [OK, OK, DENIED, DENIED]);
    assert_eq!(
        statuses(&layer, vec![with(socket("192.0.2.1"))]).await,
        [OK]
    );
    let shared = deny.missing_key_shared();
    assert_eq!(statuses(&shared, requests()).await, [DENIED; 4]);
}
