//! Every stack on axum and on plain hyper, over a connection of the handle and over a pool of the application.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use tower_fred::Redis;

use super::application::{BURST, Kind, STACKS, before, on_axum, on_hyper};
use crate::support::{
    Server,
    http::{HttpServer, cookie_of},
    until,
};

#[tokio::test]
async fn every_stack_works_on_axum_and_hyper_over_a_connection_and_a_pool() {
    let server = Server::shared();
    for stack in STACKS {
        for client in ["connect", "pool"] {
            let redis = async || match client {
                "connect" => server.redis().await,
                _ => server.pooled().await,
            };
            let http = HttpServer::axum(on_axum(stack, &redis().await)).await;
            check(&http, stack, &format!("{stack:?} on axum, {client}")).await;
            let http = HttpServer::hyper(on_hyper(stack, &redis().await)).await;
            check(&http, stack, &format!("{stack:?} on hyper, {client}")).await;
        }
    }
}

/// All three layers over a handle, for other kinds of deployments.
pub async fn check_all_three(redis: &Redis, what: &str) {
    let stack = STACKS[STACKS.len() - 1];
    let http = HttpServer::axum(on_axum(stack, redis)).await;
    check(&http, stack, what).await;
}

/// Visits the application as a client does. Checks what the layers of `stack` do, and that no other layer does anything.
async fn check(http: &HttpServer, stack: &[Kind], what: &str) {
    let mut visitor = Visitor {
        http,
        what,
        sent: 0,
    };
    check_cache(&mut visitor, stack.contains(&Kind::Cache)).await;
    check_session(&mut visitor, stack.contains(&Kind::Session)).await;
    if stack.contains(&Kind::RateLimit) {
        check_rate_limit(&mut visitor, stack).await;
    }
}

struct Visitor<'a> {
    http: &'a HttpServer,
    what: &'a str,
    sent: u32,
}

impl Visitor<'_> {
    async fn get(&mut self, path: &str, cookie: &str) -> Response<Bytes> {
        self.sent += 1;
        let response = self.http.get(path, &[("cookie", cookie)]).await;
        let (what, sent) = (self.what, self.sent);
        assert_eq!(
            response.status(),
            StatusCode::OK,
            "{what}: request {sent} for {path}"
        );
        response
    }
}

/// With the cache, the second answer is the stored one; without it, each answer is new.
async fn check_cache(visitor: &mut Visitor<'_>, cached: bool) {
    let what = visitor.what;
    let first = visitor.get("/page", "").await;
    assert!(
        !first.headers().contains_key(header::SET_COOKIE),
        "{what}: an untouched session"
    );
    assert_eq!(
        first.headers().contains_key("cache-status"),
        cached,
        "{what}: {first:?}"
    );
    if !cached {
        assert_ne!(
            visitor.get("/page", "").await.body(),
            first.body(),
            "{what}"
        );
        return;
    }
    // The answer is stored after its last byte was sent, so the next request may be too early.
    until("a stored page", async || {
        let again = visitor.get("/page", "").await;
        again.headers().contains_key(header::AGE)
    })
    .await;
}

async fn check_session(visitor: &mut Visitor<'_>, kept: bool) {
    let what = visitor.what;
    let visit = visitor.get("/visit", "").await;
    if !kept {
        assert_eq!(visit.body(), "no session", "{what}");
        return;
    }
    assert_eq!(visit.body(), "visit 1", "{what}");
    let cookie = cookie_of(&visit);
    assert_eq!(
        visitor.get("/visit", cookie).await.body(),
        "visit 2",
        "{what}"
    );
    assert_eq!(
        visitor.get("/visit", "").await.body(),
        "visit 1",
        "{what}: another visitor"
    );
}

/// The rest of the burst is admitted, and no request more.
async fn check_rate_limit(visitor: &mut Visitor<'_>, stack: &[Kind]) {
    let what = visitor.what;
    let left = remaining(&visitor.get("/visit", "").await);
    let cache_is_outside = before(stack, Kind::Cache, Kind::RateLimit);
    if !cache_is_outside {
        assert_eq!(left, BURST - visitor.sent, "{what}: every request counts");
    }
    for _ in 0..left {
        visitor.get("/visit", "").await;
    }
    let denied = visitor.http.get("/visit", &[]).await;
    assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS, "{what}");
    // A cache outside of the limit answers with its stored page; inside of the limit it is not called.
    let page = visitor.http.get("/page", &[]).await;
    let answered = page.status() == StatusCode::OK;
    assert_eq!(answered, cache_is_outside, "{what}: {page:?}");
}

fn remaining<B>(response: &Response<B>) -> u32 {
    let field = response.headers()["ratelimit"].to_str().expect("text");
    let item = field
        .split(";r=")
        .nth(1)
        .and_then(|rest| rest.split(';').next());
    item.and_then(|number| number.parse().ok())
        .expect("a number")
}
