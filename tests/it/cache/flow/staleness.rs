use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use futures_util::future::join_all;
use http::{Response, StatusCode, request::Parts};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_fred::{CacheLayer, cache::CacheFor};

use crate::cache::{Site, is_hit, reply, request, status, travel};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Answers with how often it has answered.
fn counting(
    fields: &'static [(&str, &str)],
) -> impl Fn(&Parts) -> Response<Body> + Send + Sync + 'static {
    let calls = AtomicU16::new(0);
    move |_| {
        let number = calls.fetch_add(1, Ordering::SeqCst) + 1;
        reply(fields, number.to_string())
    }
}

async fn pass(site: &Site, seconds: u64) {
    travel(&site.server, &site.redis, secs(seconds)).await;
}

#[tokio::test]
async fn a_stale_answer_is_made_anew_in_the_background() {
    let fields = &[("cache-control", "max-age=10, stale-while-revalidate=60")];
    let site = Site::new(counting(fields)).await;
    site.get("/", &[]).await;
    pass(&site, 30).await;
    let stale = site.get("/", &[]).await;
    assert!(is_hit(&stale) && stale.body() == "1");
    assert_eq!(status(&stale).ttl(), Some(Duration::ZERO));
    assert!(status(&stale).to_string().contains("ttl=-2"), "{stale:?}");
    let age: u64 = stale.headers()["age"]
        .to_str()
        .expect("ASCII")
        .parse()
        .expect("a number");
    assert!(age >= 30);
    let fresh = site.get("/", &[]).await;
    assert!(is_hit(&fresh) && fresh.body() == "2");
    // After the window nothing stale is used.
    pass(&site, 80).await;
    assert_eq!(site.get("/", &[]).await.body(), "3");
}

#[tokio::test]
async fn a_head_or_a_part_makes_all_of_it_anew() {
    for (method, field) in [("HEAD", ("x", "y")), ("GET", ("range", "bytes=0-0"))] {
        let fields = &[
            ("cache-control", "max-age=10, stale-while-revalidate=60"),
            ("etag", "\"a\""),
        ];
        let site = Site::new(counting(fields)).await;
        site.get("/", &[]).await;
        pass(&site, 30).await;
        assert!(is_hit(&site.send(request(method, "/", &[field])).await));
        let fresh = site.get("/", &[]).await;
        assert!(is_hit(&fresh) && fresh.body() == "2", "{method}");
    }
}

/// Without a validator nothing took the client's own fields off: the handler answered in part, or not at all.
#[tokio::test]
async fn what_one_client_wants_is_nothing_to_a_refresh() {
    for field in [
        ("range", "bytes=0-0"),
        ("if-none-match", "\"b\""),
        ("cache-control", "no-store"),
        ("cache-control", "only-if-cached"),
    ] {
        let answers = counting(&[("cache-control", "max-age=10, stale-while-revalidate=60")]);
        let site = Site::new(move |parts| {
            assert!(!parts.headers.contains_key(field.0), "{field:?}");
            answers(parts)
        })
        .await;
        site.get("/", &[]).await;
        pass(&site, 30).await;
        assert!(is_hit(&site.get("/", &[field]).await));
        let fresh = site.get("/", &[]).await;
        assert!(is_hit(&fresh) && fresh.body() == "2", "{field:?}");
    }
}

/// The time and the tags that a handler gave an answer were lost when it confirmed that: no purge found it any more.
#[tokio::test]
async fn what_a_handler_said_holds_when_it_confirms_its_answer() {
    let confirms = |parts: &Parts| {
        if parts.headers.contains_key("if-none-match") {
            let mut response = reply(&[], "");
            *response.status_mut() = http::StatusCode::NOT_MODIFIED;
            return response;
        }
        let mut response = reply(&[("etag", "\"a\"")], "x");
        let said = CacheFor::secs(10).tags(["product:7"]);
        response.extensions_mut().insert(said);
        response
    };
    let site = Site::new(confirms).await;
    site.get("/", &[]).await;
    for calls in 2..4 {
        pass(&site, 30).await;
        let confirmed = site.get("/", &[]).await;
        assert!(confirmed.body() == "x" && !is_hit(&confirmed));
        assert!(is_hit(&site.get("/", &[]).await));
        assert_eq!(site.calls(), calls);
    }
    let purge = site.redis.purge();
    purge.tag("product:7").await.expect("purged");
    assert!(!is_hit(&site.get("/", &[]).await));
}

#[tokio::test]
async fn a_refresh_that_fails_is_not_tried_again_at_once() {
    let calls = AtomicU16::new(0);
    let site = Site::new(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => reply(
            &[("cache-control", "max-age=10, stale-while-revalidate=60")],
            "x",
        ),
        _ => {
            let mut response = reply(&[], "");
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    })
    .await;
    site.get("/", &[]).await;
    pass(&site, 30).await;
    for _ in 0..20 {
        assert!(is_hit(&site.get("/", &[]).await));
    }
    assert!(site.calls() < 5, "{} calls", site.calls());
}

#[tokio::test]
async fn an_answer_is_made_anew_before_its_end() {
    let early = |layer: CacheLayer| layer.near(1 << 20).early_refresh(1e12);
    let site = Site::with(early, |_| {
        // Early refresh depends on the time that the handler takes, so it has to take some.
        std::thread::sleep(Duration::from_millis(2));
        reply(&[("cache-control", "max-age=600")], "x")
    })
    .await;
    for _ in 0..4 {
        let answer = site.get("/", &[]).await;
        assert!(answer.body() == "x");
    }
    assert!(site.calls() > 1);
    assert!(is_hit(&site.get("/", &[]).await));
}

#[tokio::test]
async fn many_stale_hits_make_it_anew_once() {
    let fields = &[("cache-control", "max-age=10, stale-while-revalidate=60")];
    let site = Site::new(counting(fields)).await;
    site.get("/", &[]).await;
    pass(&site, 30).await;
    let answers = join_all((0..50).map(|_| site.get("/", &[]))).await;
    assert!(answers.iter().all(is_hit));
    assert_eq!(site.calls(), 2);
}

#[tokio::test]
async fn the_layer_can_allow_staleness() {
    let lenient = |layer: CacheLayer| {
        layer
            .stale_while_revalidate(secs(60))
            .stale_if_error(secs(90))
    };
    let code = Arc::new(AtomicU16::new(200));
    let now = Arc::clone(&code);
    let site = Site::with(lenient, move |parts| {
        let lifetime = match parts.uri.path() {
            "/strict" => "max-age=10, must-revalidate",
            "/own" => "max-age=10, stale-if-error=0, stale-while-revalidate=0",
            _ => "max-age=10",
        };
        let mut response = reply(&[("cache-control", lifetime)], "x");
        *response.status_mut() =
            http::StatusCode::from_u16(now.load(Ordering::SeqCst)).expect("a status");
        response
    })
    .await;
    for path in ["/", "/strict", "/own"] {
        site.get(path, &[]).await;
    }
    code.store(503, Ordering::SeqCst);
    pass(&site, 30).await;
    assert!(is_hit(&site.get("/", &[]).await));
    pass(&site, 60).await;
    // Past the first window, within the second.
    let instead = site.get("/", &[]).await;
    assert_eq!(instead.status(), 200);
    // The refresh in the background has failed a moment ago: the handler is not asked again.
    assert!(is_hit(&instead));
    assert_eq!(status(&instead).detail_word(), Some("stale-if-error"));
    pass(&site, 30).await;
    for path in ["/", "/strict", "/own"] {
        assert_eq!(site.get(path, &[]).await.status(), 503, "{path}");
    }
}

#[tokio::test]
async fn an_answer_is_kept_only_as_long_as_the_layer_says() {
    let short = |layer: CacheLayer| layer.keep(secs(20));
    let site = Site::with(short, |parts| {
        if parts.headers.contains_key("if-none-match") {
            let mut response = reply(&[], Body::empty());
            *response.status_mut() = http::StatusCode::NOT_MODIFIED;
            return response;
        }
        reply(&[("cache-control", "max-age=10"), ("etag", "\"a\"")], "x")
    })
    .await;
    site.get("/", &[]).await;
    pass(&site, 20).await;
    assert!(
        status(&site.get("/", &[]).await)
            .to_string()
            .contains("fwd-status=304")
    );
    pass(&site, 40).await;
    assert_eq!(
        status(&site.get("/", &[]).await).to_string(),
        "fwd=uri-miss; stored"
    );
}

#[tokio::test]
async fn a_soft_purge_makes_stale() {
    let fields = &[("cache-control", "max-age=100, stale-while-revalidate=60")];
    let site = Site::new(counting(fields)).await;
    site.get("/", &[]).await;
    let url = "http://shop.example/".parse().expect("a URL");
    site.layer.purge().soft().url(&url).await.expect("purged");
    let stale = site.get("/", &[]).await;
    assert!(is_hit(&stale) && stale.body() == "1");
    // Who is further out must not take it for fresh (it says how long it was).
    let age: u64 = stale.headers()["age"]
        .to_str()
        .expect("ASCII")
        .parse()
        .expect("a number");
    assert!(age >= 100, "{age}");
    assert_eq!(site.get("/", &[]).await.body(), "2");
}

/// Redis may hear of the second request before it has the answer to the first.
#[tokio::test]
async fn what_was_answered_a_moment_ago_is_validated() {
    let validated = |parts: &Parts| parts.headers.contains_key("if-none-match");
    let site = Site::new(move |parts| {
        let mut response = reply(&[("cache-control", "no-cache"), ("etag", "\"a\"")], "whole");
        if validated(parts) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::empty();
        }
        response
    })
    .await;
    for number in 0..50 {
        let path = format!("/{number}");
        for forwarded in [200, 304] {
            let response = site.service().oneshot(request("GET", &path, &[])).await;
            let response = response.expect("an answer");
            let (status, body) = (status(&response).to_string(), response.into_body());
            let body = body.collect().await.expect("a body").to_bytes();
            assert_eq!(body, "whole");
            assert_eq!(
                status.contains("fwd-status=304"),
                forwarded == 304,
                "{path}: {status}"
            );
        }
    }
}
