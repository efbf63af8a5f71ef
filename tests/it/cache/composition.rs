use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use tower_fred::{CacheLayer, Redis, cache::CacheStatus};
use tower_test::mock;

use super::{Origin, fresh, is_hit, reply, request};
use crate::support::{Server, http::HttpServer};

#[tokio::test]
async fn the_ready_service_is_the_one_that_is_used() {
    let server = Server::shared();
    let layer = CacheLayer::new(server.redis().await);
    let origin = Origin::new(|_| fresh("x"));
    let mut service = layer.layer(ConcurrencyLimitLayer::new(1).layer(origin.clone()));
    // Misses, hits, other methods: each gives its permit back.
    for method in ["GET", "GET", "POST", "GET", "HEAD", "OPTIONS"] {
        let ready = ServiceExt::<Request<Body>>::ready(&mut service).await;
        let response = ready.expect("ready").call(request(method, "/a", &[]));
        let response = response.await.expect("an answer");
        response.into_body().collect().await.expect("a body");
    }
    assert!(origin.calls() >= 3);
}

#[tokio::test]
async fn a_mock_is_called_once_it_is_ready() {
    let server = Server::shared();
    let layer = CacheLayer::new(server.redis().await);
    let (mock, mut handle) = mock::pair::<Request<Full<Bytes>>, Response<Full<Bytes>>>();
    let mut service = layer.layer(mock);
    handle.allow(1);
    let asked = Request::get("/a").body(Full::default()).expect("a request");
    let answer = service.ready().await.expect("ready").call(asked);
    let handler = async {
        let (_, respond) = handle.next_request().await.expect("a request");
        respond.send_response(Response::new(Full::from("x")));
    };
    let (answer, ()) = tokio::join!(answer, handler);
    let body = answer
        .expect("an answer")
        .into_body()
        .collect()
        .await
        .expect("a body");
    assert_eq!(body.to_bytes(), "x");
    // Its error is passed on as it is.
    handle.allow(1);
    let asked = Request::get("/a").body(Full::default()).expect("a request");
    let answer = service.ready().await.expect("ready").call(asked);
    let handler = async {
        let (_, respond) = handle.next_request().await.expect("a request");
        respond.send_error("no");
    };
    let (answer, ()) = tokio::join!(answer, handler);
    assert_eq!(answer.expect_err("an error").to_string(), "no");
}

/// Asks until the cache answers: a body is stored after the client has it.
async fn until_hit(server: &HttpServer, path: &str) -> Response<Bytes> {
    for _ in 0..10_000 {
        let answer = server.get(path, &[]).await;
        let status = answer.headers()["cache-status"].to_str().expect("ASCII");
        if status.contains("; hit") {
            return answer;
        }
    }
    panic!("no hit for {path}");
}

#[tokio::test]
async fn axum_routers_are_cached() {
    let server = Server::shared();
    let redis = server.redis().await;
    let router = Router::new()
        .route(
            "/a",
            get(|| async { ([("cache-control", "max-age=60")], "hello") }),
        )
        .route(
            "/gone",
            get(|| async { (StatusCode::GONE, [("cache-control", "max-age=60")], "gone") }),
        )
        .layer(CacheLayer::new(redis));
    let site = HttpServer::axum(router).await;
    let hit = until_hit(&site, "/a").await;
    assert_eq!(hit.body(), "hello");
    assert_eq!(hit.headers()["content-length"], "5");
    assert_eq!(hit.headers()["content-type"], "text/plain; charset=utf-8");
    assert!(hit.headers().contains_key("age"));
    assert_eq!(until_hit(&site, "/gone").await.status(), StatusCode::GONE);

    let head = Request::head(site.url("/a"))
        .body(Full::default())
        .expect("a request");
    let head = site.send(head).await;
    assert_eq!(head.headers()["content-length"], "5");
    assert!(head.body().is_empty());
    assert!(
        head.headers()["cache-status"]
            .to_str()
            .expect("ASCII")
            .contains("; hit")
    );
}

#[tokio::test]
async fn nested_routers_do_not_share_entries() {
    let server = Server::shared();
    let layer = CacheLayer::new(server.redis().await).ttl(Duration::from_secs(60));
    let inner = |name: &'static str| {
        Router::new()
            .route("/x", get(move || async move { name }))
            .layer(layer.clone())
    };
    let router = Router::new()
        .nest("/a", inner("in a"))
        .nest("/b", inner("in b"));
    let site = HttpServer::axum(router).await;
    assert_eq!(until_hit(&site, "/a/x").await.body(), "in a");
    assert_eq!(until_hit(&site, "/b/x").await.body(), "in b");
}

#[tokio::test]
async fn plain_hyper_services_are_cached() {
    let server = Server::shared();
    let redis = server.redis().await;
    let handler = service_fn(|_: Request<Incoming>| async {
        let response = Response::builder().header("cache-control", "max-age=60");
        Ok::<_, Infallible>(
            response
                .body(Full::<Bytes>::from("hello"))
                .expect("a response"),
        )
    });
    let site = HttpServer::hyper(CacheLayer::new(redis).layer(handler)).await;
    assert_eq!(until_hit(&site, "/a").await.body(), "hello");
}

/// Data of a type that is not `Bytes`, with a body that is not `Sync` and errors that are not errors.
mod own {
    use std::{cell::Cell, collections::VecDeque, pin::Pin, task};

    use bytes::{Buf, Bytes};
    use http_body::{Body, Frame};

    pub struct Data(VecDeque<u8>);

    impl From<Bytes> for Data {
        fn from(bytes: Bytes) -> Self {
            Self(bytes.to_vec().into())
        }
    }

    impl Buf for Data {
        fn remaining(&self) -> usize {
            self.0.remaining()
        }

        fn chunk(&self) -> &[u8] {
            self.0.chunk()
        }

        fn advance(&mut self, count: usize) {
            self.0.advance(count);
        }
    }

    pub struct Frames(pub Cell<Option<Bytes>>);

    impl Body for Frames {
        type Data = Data;
        type Error = u8;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut task::Context<'_>,
        ) -> task::Poll<Option<Result<Frame<Data>, u8>>> {
            let frame = self.0.take().map(|bytes| Ok(Frame::data(bytes.into())));
            task::Poll::Ready(frame)
        }
    }
}

#[tokio::test]
async fn any_body_and_error_will_do() {
    struct NotAnError;
    let server = Server::shared();
    let redis: Redis = server.redis().await;
    let handler = service_fn(|_: Request<String>| async {
        let response = Response::builder().header("cache-control", "max-age=60");
        let body = own::Frames(std::cell::Cell::new(Some(Bytes::from_static(b"hello"))));
        Ok::<_, NotAnError>(response.body(body).expect("a response"))
    });
    let service = CacheLayer::new(redis.clone()).layer(handler);
    for hit in [false, true] {
        let Ok(response) = service.clone().oneshot(Request::new(String::new())).await else {
            panic!("an error");
        };
        assert_eq!(is_hit(&response), hit);
        let Ok(body) = response.into_body().collect().await else {
            panic!("an error");
        };
        assert_eq!(body.to_bytes(), "hello");
        for _ in 0..4 {
            redis.ping().await.expect("a sign of life");
        }
    }
}

#[tokio::test]
async fn caches_can_be_stacked() {
    let server = Server::shared();
    let redis = server.redis().await;
    let origin = Origin::new(|_| reply(&[("cache-control", "max-age=60"), ("age", "7")], "x"));
    let service = CacheLayer::new(redis.clone()).name("outer").layer(
        CacheLayer::new(redis.clone())
            .name("inner")
            .layer(origin.clone()),
    );
    for _ in 0..2 {
        let response = service
            .clone()
            .oneshot(request("GET", "/a", &[]))
            .await
            .expect("an answer");
        let _: CacheStatus = super::status(&response);
        response.into_body().collect().await.expect("a body");
        for _ in 0..8 {
            redis.ping().await.expect("a sign of life");
        }
    }
    assert_eq!(origin.calls(), 1);
}
