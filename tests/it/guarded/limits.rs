//! Rate limits by the user of a session, around and within a cache.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{StatusCode, header};
use tower_fred::{
    CacheLayer, RateLimitLayer, SessionLayer, SessionUser,
    rate_limit::{Policy, Quota},
};

use super::{Site, login, numbered, status};
use crate::{
    cache::patient,
    support::{Server, http::HttpServer},
};

/// A limit by user once marked each request as personal, and added `Vary: Cookie` to each answer.
#[tokio::test]
async fn a_limit_by_user_neither_marks_nor_varies() {
    let server = Server::shared();
    for cache_outside in [false, true] {
        let redis = patient(&server).await;
        let made = Arc::default();
        let limit = RateLimitLayer::new(redis.clone(), Policy::new("user", Quota::per_day(4)))
            .by(SessionUser)
            .missing_key_allow();
        let cache = CacheLayer::new(redis.clone()).ttl(Duration::from_secs(60));
        let pages = Router::new().route("/page", numbered(&made));
        let login = Router::new().route("/login/{role}", get(login));
        let sessions = SessionLayer::new(redis.clone());
        let router = match cache_outside {
            false => {
                let pages = pages.layer(cache).layer(limit);
                pages.merge(login).layer(sessions)
            }
            true => {
                let pages = pages.layer(limit).layer(sessions.clone()).layer(cache);
                pages.merge(login.layer(sessions))
            }
        };
        let http = HttpServer::axum(router).await;
        let site = Site { http, redis };
        let ann = site.cookie("ann").await;
        let first = site.get("/page", &ann).await;
        assert!(status(&first).ends_with("; stored"), "{first:?}");
        for cookie in ["", &ann] {
            let answer = site.get("/page", cookie).await;
            assert!(status(&answer).contains("; hit"), "{answer:?}");
            assert!(!answer.headers().contains_key(header::VARY), "{answer:?}");
        }
        // It counts all the same.
        for number in 0..4 {
            let path = format!("/page?{number}");
            let answer = site.get(&path, &ann).await;
            let used = number + if cache_outside { 1 } else { 2 };
            assert_eq!(answer.status().is_success(), used < 4, "{number}");
        }
    }
}

/// What a limit answers depends on who asks, whatever the application makes it say.
#[tokio::test]
async fn what_a_limit_answers_itself_is_not_stored() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let made = Arc::default();
    let limit = |name: &'static str| {
        let policy = Policy::new(name, Quota::per_day(1));
        RateLimitLayer::new(redis.clone(), policy).by(SessionUser)
    };
    let denied = limit("denied").rejection(|_, _| {
        let response = http::Response::builder().header("cache-control", "max-age=60");
        response.body(Bytes::from("denied")).expect("a response")
    });
    let cache = CacheLayer::new(redis.clone())
        .ttl(Duration::from_secs(60))
        .statuses([StatusCode::OK, StatusCode::BAD_REQUEST]);
    let pages = Router::new()
        .route("/denied", numbered(&made).layer(denied))
        .route(
            "/missing",
            numbered(&made).layer(limit("missing").missing_key_deny()),
        )
        .layer(SessionLayer::new(redis.clone()))
        .layer(cache);
    let login = Router::new()
        .route("/login/{role}", get(login))
        .layer(SessionLayer::new(redis.clone()));
    let http = HttpServer::axum(pages.merge(login)).await;
    let site = Site { http, redis };
    let ann = site.cookie("ann").await;
    for query in ["1", "2"] {
        let answer = site.get(&format!("/denied?{query}"), &ann).await;
        let is_denied = query == "2";
        assert_eq!(answer.body() == "denied", is_denied);
        assert_eq!(status(&answer).contains("stored"), !is_denied, "{answer:?}");
    }
    let bob = site.cookie("bob").await;
    assert_ne!(site.get("/denied?2", &bob).await.body(), "denied");
    let missing = site.get("/missing", "").await;
    assert_eq!(missing.status(), StatusCode::BAD_REQUEST);
    assert!(!status(&missing).contains("stored"), "{missing:?}");
    assert_eq!(site.get("/missing", &ann).await.status(), StatusCode::OK);
}
