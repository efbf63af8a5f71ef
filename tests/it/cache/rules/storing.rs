//! What is stored and purged.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Response, request::Parts};
use tokio::sync::Semaphore;
use tower_fred::{
    CacheLayer,
    cache::{CacheFor, Purge},
};

use crate::cache::{Site, field, fresh, is_hit, reply, request, status};

#[tokio::test]
async fn a_ttl_is_for_answers_that_state_no_lifetime() {
    let with = |layer: CacheLayer| layer.ttl(Duration::from_secs(60));
    let site = Site::with(with, |parts| match parts.uri.path() {
        "/plain" => reply(&[], "x"),
        "/private" => reply(&[("cache-control", "private")], "x"),
        "/cookie" => reply(&[("set-cookie", "a=b")], "x"),
        "/no" => reply(&[("cache-control", "max-age=0")], "x"),
        _ => unreachable!(),
    })
    .await;
    let first = site.get("/plain", &[]).await;
    assert_eq!(first.headers().get("cache-control"), None);
    let second = site.get("/plain", &[]).await;
    assert!(is_hit(&second));
    assert!(status(&second).ttl().expect("a ttl") <= Duration::from_secs(60));
    for path in ["/private", "/cookie", "/no"] {
        site.get(path, &[]).await;
        assert!(!is_hit(&site.get(path, &[]).await), "{path}");
    }
}

#[tokio::test]
async fn a_ttl_ends() {
    let short = |layer: CacheLayer| layer.ttl(Duration::from_millis(100));
    let site = Site::with(short, |_| reply(&[], "x")).await;
    site.get("/a", &[]).await;
    for _ in 0..100_000 {
        if !is_hit(&site.get("/a", &[]).await) {
            return;
        }
    }
    panic!("it never ended");
}

#[tokio::test]
async fn a_purge_removes_a_url_with_its_variants() {
    let site = Site::new(|parts| {
        let vary = if parts.uri.path() == "/varying" {
            "foo"
        } else {
            ""
        };
        reply(&[("cache-control", "max-age=60"), ("vary", vary)], "x")
    })
    .await;
    let purge = Purge::new(site.redis.clone());
    for path in ["/plain?q=1", "/varying"] {
        for foo in ["1", "2"] {
            site.get(path, &[("foo", foo)]).await;
            assert!(is_hit(&site.get(path, &[("foo", foo)]).await), "{path}");
        }
        let url = format!("https://Shop.Example:443{path}")
            .parse()
            .expect("a URL");
        purge.url(&url).await.expect("purged");
        for foo in ["1", "2"] {
            // Both are gone also after one of them was stored again.
            let again = site.get(path, &[("foo", foo)]).await;
            assert_eq!(
                is_hit(&again),
                path == "/plain?q=1" && foo == "2",
                "{path} {foo}"
            );
        }
    }
}

#[tokio::test]
async fn a_fill_that_began_before_a_purge_brings_no_variant_back() {
    let gate = Arc::new(Semaphore::new(1));
    let opened = Arc::clone(&gate);
    let site = Site::new(move |_| {
        let gate = Arc::clone(&opened);
        let part = async move {
            gate.acquire().await.expect("open").forget();
            Ok::<_, Infallible>("x")
        };
        let body = Body::from_stream(futures_util::stream::once(part));
        reply(&[("cache-control", "max-age=60"), ("vary", "foo")], body)
    })
    .await;
    site.get("/a", &[("foo", "1")]).await;
    // The second variant is being made when the first one is purged.
    let late = tower::ServiceExt::oneshot(site.service(), request("GET", "/a", &[("foo", "2")]));
    let late = late.await.expect("an answer");
    let url = "http://shop.example/a".parse().expect("a URL");
    site.layer.purge().url(&url).await.expect("purged");
    gate.add_permits(1);
    http_body_util::BodyExt::collect(late.into_body())
        .await
        .expect("a body");
    site.settle().await;
    gate.add_permits(1);
    assert!(!is_hit(&site.get("/a", &[("foo", "1")]).await));
}

#[tokio::test]
async fn concurrent_misses_leave_one_good_entry() {
    let site = Arc::new(Site::new(|_| fresh("x".repeat(1000))).await);
    let requests = (0..50).map(|_| {
        let site = Arc::clone(&site);
        tokio::spawn(async move { site.get("/a", &[]).await })
    });
    for response in futures_util::future::join_all(requests).await {
        assert_eq!(response.expect("an answer").body().len(), 1000);
    }
    assert!(is_hit(&site.get("/a", &[]).await));
    assert_eq!(site.keys().await.len(), 1);
}

#[tokio::test]
async fn handles_with_one_namespace_share_entries() {
    let site = Site::new(|_| fresh("x")).await;
    site.get("/a", &[]).await;
    let again = CacheLayer::new(site.redis.clone());
    let other = tower::Layer::layer(&again, site.origin.clone());
    let response = tower::ServiceExt::oneshot(other, request("GET", "/a", &[]))
        .await
        .expect("an answer");
    assert!(is_hit(&response));
}

/// RFC 6585 §3 to §6 for the statuses; a field that makes one browser forget what it has was once left out of what was
/// stored.
#[tokio::test]
async fn what_is_for_one_client_is_never_stored() {
    let named = |code: u16| http::StatusCode::from_u16(code).expect("a status");
    for code in [428, 429, 431, 511] {
        let all = |layer: CacheLayer| layer.ttl(Duration::from_secs(60)).statuses([named(code)]);
        for settings in [&(|layer| layer) as &dyn Fn(CacheLayer) -> CacheLayer, &all] {
            for control in [
                "public, max-age=60, s-maxage=60",
                "max-age=60, must-understand",
            ] {
                let site = Site::with(settings, move |_| {
                    let mut answer = reply(&[("cache-control", control)], "x");
                    *answer.status_mut() = named(code);
                    answer
                })
                .await;
                site.get("/", &[]).await;
                assert!(!is_hit(&site.get("/", &[]).await), "{code} {control}");
            }
        }
    }
    for value in ["\"cookies\"", "\"*\"", "", "no list"] {
        let site = Site::new(move |_| {
            let fields = [
                ("cache-control", "public, max-age=60"),
                ("clear-site-data", value),
            ];
            reply(&fields, "x")
        })
        .await;
        for _ in 0..2 {
            let answer = site.get("/", &[]).await;
            assert!(!is_hit(&answer) && !status(&answer).is_stored(), "{value}");
            assert_eq!(field(&answer, "clear-site-data"), Some(value));
        }
    }
}

/// A 304 that brings the field up to date takes the entry with it.
#[tokio::test]
async fn a_confirmation_that_clears_site_data_is_not_stored() {
    let site = Site::new(|parts| {
        if !parts.headers.contains_key("if-none-match") {
            return reply(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], "x");
        }
        let fields = [("etag", "\"a\""), ("clear-site-data", "\"cookies\"")];
        let mut answer = reply(&fields, "");
        *answer.status_mut() = http::StatusCode::NOT_MODIFIED;
        answer
    })
    .await;
    site.get("/", &[]).await;
    assert!(is_hit(&site.get("/", &[]).await));
    let confirmed = site.get("/", &[("cache-control", "no-cache")]).await;
    assert_eq!(field(&confirmed, "clear-site-data"), Some("\"cookies\""));
    let next = site.get("/", &[]).await;
    assert!(!is_hit(&next) && field(&next, "clear-site-data").is_none());
}

/// RFC 9651 §3.3.1: an integer has 15 digits at most, and `ttl` had more.
#[tokio::test]
async fn no_lifetime_makes_an_invalid_status() {
    let longest = Duration::MAX;
    let told = |ttl: Duration| {
        move |_: &Parts| {
            let mut answer = reply(&[], "x");
            answer.extensions_mut().insert(CacheFor::new(ttl));
            answer
        }
    };
    let most_seconds = Duration::from_secs(999_999_999_999_999);
    for ttl in [
        longest,
        most_seconds,
        most_seconds * 2,
        Duration::from_secs(u64::MAX),
    ] {
        for (settings, answer) in [
            (
                Box::new(|layer| layer) as Settings,
                Box::new(told(ttl)) as Reply,
            ),
            (
                Box::new(move |layer: CacheLayer| layer.ttl(ttl)),
                Box::new(|_: &Parts| reply(&[], "x")),
            ),
            (
                Box::new(move |layer: CacheLayer| layer.stale_while_revalidate(ttl).keep(ttl)),
                Box::new(told(ttl)),
            ),
        ] {
            let site = Site::with(settings, answer).await;
            site.get("/", &[]).await;
            let hit = site.get("/", &[]).await;
            assert!(is_hit(&hit), "{ttl:?}");
            let line = field(&hit, "cache-status").expect("a status");
            let list: sfv::List = sfv::Parser::new(line).parse().expect("a structured field");
            assert_eq!(list.len(), 1, "{line}");
            let number = line.rsplit('=').next().expect("a number");
            assert!((10..=15).contains(&number.len()), "{line}");
        }
    }
}

type Settings = Box<dyn FnOnce(CacheLayer) -> CacheLayer>;

type Reply = Box<dyn Fn(&Parts) -> Response<Body> + Send + Sync>;
