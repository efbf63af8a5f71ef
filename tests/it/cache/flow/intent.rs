//! What the cache does with a request, and what `Cache-Status` says of it.

use axum::body::Body;
use http::Method;
use tower_fred::{CacheLayer, cache::Forward};

use crate::cache::{Site, field, fresh, is_hit, reply, request, status};

#[tokio::test]
async fn the_status_field_says_what_happened() {
    let named = |layer: CacheLayer| layer.name("my shop");
    let site = Site::with(named, |parts| match parts.method {
        Method::GET => reply(
            &[
                ("cache-control", "max-age=60"),
                ("cache-status", "origin; hit"),
            ],
            "x",
        ),
        _ => reply(&[], "x"),
    })
    .await;
    let lines = |response: &http::Response<bytes::Bytes>| -> Vec<String> {
        let lines = response.headers().get_all("cache-status").iter();
        lines
            .map(|line| line.to_str().expect("ASCII").to_owned())
            .collect()
    };
    let miss = site.get("/a", &[]).await;
    assert_eq!(
        lines(&miss),
        ["origin; hit", "\"my shop\"; fwd=uri-miss; stored"]
    );
    let hit = site.get("/a", &[]).await;
    let ttl = lines(&hit)[1]
        .strip_prefix("\"my shop\"; hit; ttl=")
        .map(str::parse::<u64>);
    assert!(matches!(ttl, Some(Ok(..=60))), "{hit:?}");
    let unwanted = site.get("/a", &[("cache-control", "no-cache")]).await;
    assert_eq!(lines(&unwanted)[1], "\"my shop\"; fwd=request; stored");
    let guarded = site.get("/a", &[("if-match", "\"a\"")]).await;
    assert_eq!(
        lines(&guarded)[1],
        "\"my shop\"; fwd=bypass; detail=conditional"
    );
    let posted = site.send(request("POST", "/a", &[])).await;
    assert_eq!(lines(&posted), ["\"my shop\"; fwd=method"]);
}

#[tokio::test]
async fn the_status_field_can_be_left_out() {
    let site = Site::with(CacheLayer::no_cache_status, |_| fresh("x")).await;
    site.get("/a", &[]).await;
    let hit = site.get("/a", &[]).await;
    assert_eq!(field(&hit, "cache-status"), None);
    assert!(is_hit(&hit));
}

#[tokio::test]
async fn only_if_cached_gets_504_without_asking() {
    let site = Site::new(|_| fresh("x")).await;
    let refused = site.get("/a", &[("cache-control", "only-if-cached")]).await;
    assert_eq!((refused.status().as_u16(), site.calls()), (504, 0));
    assert_eq!(field(&refused, "cache-status"), None);
    assert_eq!(status(&refused).forward(), None);
}

#[tokio::test]
async fn client_directives_can_be_ignored() {
    let site = Site::with(CacheLayer::ignore_client_directives, |_| fresh("x")).await;
    let first = site.get("/a", &[("cache-control", "only-if-cached")]).await;
    assert_eq!((first.status().as_u16(), site.calls()), (200, 1));
    for unwanted in ["no-cache", "max-age=0", "min-fresh=100000"] {
        assert!(
            is_hit(&site.get("/a", &[("cache-control", unwanted)]).await),
            "{unwanted}"
        );
    }
    assert!(is_hit(&site.get("/a", &[("pragma", "no-cache")]).await));
    // Not a wish about stored answers, but about this one.
    site.get("/b", &[("cache-control", "no-store")]).await;
    assert!(!is_hit(&site.get("/b", &[]).await));
}

#[tokio::test]
async fn requests_can_be_bypassed() {
    let skipping = |layer: CacheLayer| layer.bypass_when(|parts| parts.uri.path() == "/skip");
    let site = Site::with(skipping, |_| fresh("x")).await;
    for (path, hit) in [("/skip", false), ("/other", true)] {
        site.get(path, &[]).await;
        let second = site.get(path, &[]).await;
        assert_eq!(is_hit(&second), hit, "{path}");
    }
    assert_eq!(
        status(&site.get("/skip", &[]).await).forward(),
        Some(Forward::Bypass)
    );
}

/// RFC 9111 §5.2.1.7: whatever the reason is that the cache leaves a request alone.
#[tokio::test]
async fn only_if_cached_never_reaches_the_handler_of_a_safe_request() {
    const ONLY: (&str, &str) = ("cache-control", "only-if-cached");
    let site = Site::with(
        |layer| layer.bypass_when(|parts| parts.uri.path() == "/admin"),
        |_| fresh("x"),
    )
    .await;
    let with_content = request("GET", "/", &[ONLY, ("content-length", "3")]);
    let torn = http::Request::get("http://a.test/").header("host", "b.test");
    let torn = torn.header(ONLY.0, ONLY.1).body(Body::empty());
    for asked in [
        request("GET", "/", &[ONLY]),
        request("HEAD", "/", &[ONLY]),
        request("GET", "/admin", &[ONLY]),
        request("GET", "/", &[ONLY, ("if-match", "\"a\"")]),
        request("GET", "/", &[ONLY, ("if-unmodified-since", "x")]),
        request("GET", "/", &[ONLY, ("upgrade", "websocket")]),
        request("OPTIONS", "/", &[ONLY]),
        with_content,
        torn.expect("a request"),
        request("GET", "/", &[ONLY]).map(|_| Body::from("content")),
    ] {
        let about = format!("{asked:?}");
        let answer = site.send(asked).await;
        assert_eq!(answer.status(), 504, "{about}");
        assert_eq!(status(&answer).to_string(), "detail=only-if-cached");
        assert_eq!(site.calls(), 0, "{about}");
    }
    let only_head = |layer: CacheLayer| layer.methods([Method::HEAD]);
    let other = Site::with(only_head, |_| fresh("x")).await;
    assert_eq!(other.get("/", &[ONLY]).await.status(), 504);
    // RFC 9111 §4: what changes something is written through.
    assert_eq!(site.send(request("POST", "/", &[ONLY])).await.status(), 200);
    let deaf = Site::with(CacheLayer::ignore_client_directives, |_| fresh("x")).await;
    let answer = deaf.get("/", &[ONLY, ("if-match", "\"a\"")]).await;
    assert_eq!(answer.status(), 200);
}
