//! With tower-http's compression around the cache, and within it.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt};
use tower_fred::{CacheLayer, Redis};
use tower_http::compression::CompressionLayer;

use super::{Origin, patient, reply, request};
use crate::support::Server;

fn page() -> String {
    "all work and no play ".repeat(100)
}

fn origin() -> Origin {
    Origin::new(|_| {
        let fields = [
            ("cache-control", "max-age=60"),
            ("content-type", "text/plain"),
            ("etag", "\"a\""),
        ];
        reply(&fields, page())
    })
}

struct Got {
    encoding: Option<String>,
    body: Bytes,
    is_hit: bool,
}

async fn ask<S, B>(service: &S, redis: &Redis, encoding: Option<&str>) -> Got
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: std::fmt::Debug,
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    let fields: Vec<_> = encoding
        .map(|encoding| ("accept-encoding", encoding))
        .into_iter()
        .collect();
    let response = service
        .clone()
        .oneshot(request("GET", "/", &fields))
        .await
        .expect("an answer");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    for _ in 0..8 {
        redis.ping().await.expect("a sign of life");
    }
    let text = |name: &str| {
        parts
            .headers
            .get(name)
            .map(|value| value.to_str().expect("ASCII").to_owned())
    };
    Got {
        encoding: text("content-encoding"),
        body,
        is_hit: text("cache-status").expect("a status").contains("; hit"),
    }
}

fn is_gzip(body: &Bytes) -> bool {
    body.starts_with(&[0x1f, 0x8b]) && body.len() < page().len() / 2
}

#[tokio::test]
async fn compression_around_the_cache_stores_one_entry() {
    let server: Arc<Server> = Server::shared();
    let redis = patient(&server).await;
    let origin = origin();
    let service =
        CompressionLayer::new().layer(CacheLayer::new(redis.clone()).layer(origin.clone()));
    for (encoding, gzip, hit) in [
        (Some("gzip"), true, false),
        (None, false, true),
        (Some("gzip"), true, true),
        (Some("identity"), false, true),
    ] {
        let got = ask(&service, &redis, encoding).await;
        assert_eq!(got.is_hit, hit, "{encoding:?}");
        assert_eq!(got.encoding.as_deref(), gzip.then_some("gzip"));
        assert!(if gzip {
            is_gzip(&got.body)
        } else {
            got.body == page()
        });
    }
    assert_eq!(origin.calls(), 1);
}

#[tokio::test]
async fn compression_within_the_cache_stores_one_entry_for_each_encoding() {
    let server: Arc<Server> = Server::shared();
    let redis = patient(&server).await;
    let origin = origin();
    let service =
        CacheLayer::new(redis.clone()).layer(CompressionLayer::new().layer(origin.clone()));
    for (encoding, gzip, hit) in [
        (Some("gzip"), true, false),
        (None, false, false),
        (Some("gzip"), true, true),
        (None, false, true),
    ] {
        let got = ask(&service, &redis, encoding).await;
        assert_eq!(got.is_hit, hit, "{encoding:?}");
        assert_eq!(got.encoding.as_deref(), gzip.then_some("gzip"));
        assert!(if gzip {
            is_gzip(&got.body)
        } else {
            got.body == page()
        });
    }
    assert_eq!(origin.calls(), 2);
}
