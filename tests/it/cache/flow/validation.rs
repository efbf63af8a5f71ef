use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use tower_fred::CacheLayer;

use crate::cache::{Site, field, is_hit, patient, reply, status, travel};
use crate::support::Server;

type Fields = &'static [(&'static str, &'static str)];

const OLD: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
const NEW: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:38 GMT");
const STRONG: (&str, &str) = ("etag", "\"x\"");
const WEAK: (&str, &str) = ("etag", "W/\"x\"");
const OTHER: (&str, &str) = ("etag", "\"y\"");

/// A handler that answers conditions with a 304 that has `fields`, and else with one page after the other.
async fn site(control: &'static str, stored: Fields, fields: Fields) -> Site {
    let pages = AtomicUsize::new(0);
    let site = Site::new(move |parts| {
        let asks = |name| parts.headers.contains_key(name);
        if asks("if-none-match") || asks("if-modified-since") {
            let mut response = reply(fields, Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let page = pages.fetch_add(1, Ordering::SeqCst);
        let fields = [stored, &[("cache-control", control)]].concat();
        reply(&fields, format!("page {page}"))
    })
    .await;
    site.get("/", &[]).await;
    travel(&site.server, &site.redis, Duration::from_secs(30)).await;
    site
}

/// The old page was once served as fresh, also with `must-revalidate`.
#[tokio::test]
async fn a_304_about_another_answer_is_asked_about_again() {
    for control in ["max-age=10", "max-age=10, must-revalidate"] {
        for (stored, fields) in [
            (&[STRONG][..], &[OTHER][..]),
            (&[WEAK], &[OTHER]),
            (&[WEAK], &[STRONG]),
            (&[OLD], &[NEW]),
            (&[OLD], &[STRONG]),
            (&[STRONG, OLD], &[NEW]),
            (&[STRONG, OLD], &[OTHER, OLD]),
        ] {
            let site = site(control, stored, fields).await;
            let client = [("if-none-match", "\"theirs\""), ("range", "bytes=0-1")];
            let answer = site.get("/", &client).await;
            assert_eq!(answer.status(), StatusCode::OK, "{stored:?} {fields:?}");
            assert_eq!(answer.body(), "page 1", "{stored:?} {fields:?}");
            assert_eq!(status(&answer).to_string(), "fwd=stale; stored");
            let next = site.get("/", &[]).await;
            assert!(is_hit(&next), "{stored:?} {fields:?}");
            assert_eq!(next.body(), "page 1");
            assert_eq!(site.calls(), 3);
        }
    }
}

#[tokio::test]
async fn a_304_about_what_is_stored_freshens_it_and_makes_no_tag_strong() {
    for control in ["max-age=10", "max-age=10, must-revalidate"] {
        for (stored, fields) in [
            (&[STRONG][..], &[][..]),
            (&[STRONG], &[WEAK]),
            (&[WEAK], &[WEAK]),
            (&[WEAK], &[]),
            (&[OLD], &[OLD]),
            (&[STRONG, OLD], &[STRONG, NEW]),
            (&[WEAK, OLD], &[OLD]),
        ] {
            let site = site(control, stored, fields).await;
            let answer = site.get("/", &[]).await;
            assert_eq!(answer.body(), "page 0", "{stored:?} {fields:?}");
            assert_eq!(
                status(&answer).to_string(),
                "fwd=stale; fwd-status=304; stored"
            );
            assert!(is_hit(&site.get("/", &[]).await));
            assert_eq!(site.calls(), 2);
            if stored[0] == WEAK {
                let parts = [("range", "bytes=0-1"), ("if-range", "\"x\"")];
                let whole = site.get("/", &parts).await;
                assert_eq!(whole.status(), StatusCode::OK);
                assert_eq!(field(&whole, "etag"), Some("W/\"x\""));
            }
        }
    }
}

/// Of a compressed page, whose tag its compression made weak, a client once got bytes for those that it had.
#[tokio::test]
async fn a_strong_tag_in_a_304_gives_no_ranges_of_a_weak_page() {
    let site = site("max-age=10", &[WEAK], &[STRONG]).await;
    for _ in 0..2 {
        let parts = [("range", "bytes=0-1"), ("if-range", "\"x\"")];
        let answer = site.get("/", &parts).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(field(&answer, "etag"), Some("W/\"x\""));
    }
}

/// A handler as above, of a body type that the layer knows nothing of.
async fn fixed(
    request: Request<Full<Bytes>>,
    calls: Arc<AtomicUsize>,
    control: &'static str,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let number = calls.fetch_add(1, Ordering::SeqCst);
    // So that requests at the same time meet it while it runs.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let asks = request.headers().contains_key("if-none-match");
    let response = Response::builder()
        .status(if asks { 304 } else { 200 })
        .header("cache-control", control)
        .header("etag", if asks { "\"y\"" } else { "\"x\"" });
    let body = if asks {
        String::new()
    } else {
        format!("call {number}")
    };
    Ok(response.body(body.into()).expect("a response"))
}

fn plain() -> Request<Full<Bytes>> {
    let request = Request::get("/").header("host", "shop.example");
    request.body(Full::default()).expect("a request")
}

#[tokio::test]
async fn without_a_second_body_the_old_answer_is_taken_out() {
    let server = Server::shared();
    for (control, has_body, code, body) in [
        ("max-age=10", false, 200, "call 0"),
        ("max-age=10, must-revalidate", false, 502, ""),
        ("max-age=10, must-revalidate", true, 200, "call 2"),
    ] {
        let redis = patient(&server).await;
        let mut layer = CacheLayer::new(redis.clone());
        if has_body {
            layer = layer.empty_body(Full::<Bytes>::default);
        }
        let calls = Arc::new(AtomicUsize::new(0));
        let handler = service_fn(move |request| fixed(request, Arc::clone(&calls), control));
        let service = layer.layer(handler);
        let get = async || {
            let answer = service.clone().oneshot(plain()).await.expect("an answer");
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            for _ in 0..8 {
                redis.ping().await.expect("a reply");
            }
            Response::from_parts(parts, body)
        };
        get().await;
        travel(&server, &redis, Duration::from_secs(30)).await;
        let answer = get().await;
        assert_eq!(answer.status(), code, "{control}: {answer:?}");
        assert_eq!(answer.body(), body, "{control}");
        assert_eq!(
            status(&answer).detail_word(),
            (!has_body).then_some("contradicted")
        );
        // The next one is asked without conditions, or a hit of that.
        let next = get().await;
        assert_eq!(next.status(), StatusCode::OK);
        assert_eq!(next.body(), "call 2", "{control}");
    }
}

/// Who waits for the answer may hold the only place of the service.
#[tokio::test]
async fn asking_again_takes_one_place_at_a_time() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let control = "max-age=10, must-revalidate";
    let handler = service_fn(move |request| fixed(request, Arc::clone(&calls), control));
    let layer = CacheLayer::new(redis.clone()).empty_body(Full::<Bytes>::default);
    let service = layer.layer(ConcurrencyLimitLayer::new(1).layer(handler));
    let get = async || {
        let answer = service.clone().oneshot(plain()).await.expect("an answer");
        answer
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes()
    };
    assert_eq!(get().await, "call 0");
    for _ in 0..8 {
        redis.ping().await.expect("a reply");
    }
    travel(&server, &redis, Duration::from_secs(30)).await;
    // It is 20 s when one waits for another that waits for it.
    let all = join_all((0..16).map(|_| get()));
    let all = tokio::time::timeout(Duration::from_secs(15), all).await;
    for body in all.expect("all are answered") {
        assert_ne!(body, "call 0");
    }
}
