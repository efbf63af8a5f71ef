use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{Method, Response, request::Parts};
use tokio::sync::Semaphore;
use tower_fred::{
    CacheLayer,
    cache::{Forward, Purge},
    fred::interfaces::KeysInterface,
};

use super::{Site, field, fresh, is_hit, reply, request, status};
use crate::support::{Counts, Server};

/// A site that has answered before: it knows the purge log, and how fast the handler is.
async fn warm(
    server: &Arc<Server>,
    reply: impl Fn(&Parts) -> Response<Body> + Send + Sync + 'static,
) -> Site {
    let site = Site::on(server.clone(), |layer| layer, reply).await;
    site.get("/first", &[]).await;
    site.get("/first", &[]).await;
    site
}

/// How often a command was sent; reading the purge log goes on beside it.
fn entries(counts: &Counts) -> [u64; 4] {
    ["get", "set", "del", "evalsha"].map(|command| counts.of(command))
}

#[tokio::test]
async fn a_miss_is_one_get_and_one_set_and_a_hit_is_one_get() {
    let server = Arc::new(Server::start());
    let site = warm(&server, |_| fresh("hello")).await;

    let (counts, miss) = server.count(site.get("/a", &[])).await;
    assert!(!is_hit(&miss));
    assert_eq!(entries(&counts), [1, 1, 0, 0], "{counts:?}");

    let (counts, hit) = server.count(site.get("/a", &[])).await;
    assert!(is_hit(&hit) && hit.body() == "hello");
    assert_eq!(entries(&counts), [1, 0, 0, 0], "{counts:?}");
    assert_eq!(site.calls(), 2);
}

#[tokio::test]
async fn a_hit_among_variants_is_two_gets_in_one_round_trip() {
    let server = Arc::new(Server::start());
    let varying = |_: &_| reply(&[("cache-control", "max-age=60"), ("vary", "foo")], "hello");
    let site = warm(&server, varying).await;

    let (counts, _) = server.count(site.get("/a", &[("foo", "1")])).await;
    assert_eq!(entries(&counts), [1, 2, 0, 0], "{counts:?}");
    // A known list of fields is not written again.
    let (counts, second) = server.count(site.get("/a", &[("foo", "2")])).await;
    assert_eq!(status(&second).forward(), Some(Forward::VaryMiss));
    assert_eq!(entries(&counts), [2, 1, 0, 0], "{counts:?}");
    assert_eq!(counts.of("pexpire"), 1);
    let (counts, hit) = server.count(site.get("/a", &[("foo", "1")])).await;
    assert!(is_hit(&hit));
    assert_eq!(entries(&counts), [2, 0, 0, 0], "{counts:?}");
}

#[tokio::test]
async fn a_near_hit_asks_redis_for_nothing() {
    let server = Arc::new(Server::start());
    let near = |layer: CacheLayer| layer.near(1 << 20);
    let varying = |_: &_| reply(&[("cache-control", "max-age=60"), ("vary", "foo")], "hello");
    let site = Site::on(server.clone(), near, varying).await;
    // Made, then read twice, to be kept here.
    for _ in 0..4 {
        site.get("/a", &[("foo", "1")]).await;
    }
    let (counts, hit) = server.count(site.get("/a", &[("foo", "1")])).await;
    assert!(is_hit(&hit));
    assert_eq!(entries(&counts), [0, 0, 0, 0], "{counts:?}");
    // What is purged is not used from here either.
    let url = "http://shop.example/a".parse().expect("a URL");
    site.layer.purge().url(&url).await.expect("purged");
    assert!(!is_hit(&site.get("/a", &[("foo", "1")]).await));
}

/// What was in the process stayed there, and came back after it had been replaced.
#[tokio::test]
async fn a_near_copy_does_not_outlive_what_takes_its_place() {
    let calls = AtomicUsize::new(0);
    let site = Site::with(
        |layer| layer.near(1 << 20),
        move |_| fresh(calls.fetch_add(1, Ordering::SeqCst).to_string()),
    )
    .await;
    for _ in 0..4 {
        assert_eq!(site.get("/", &[]).await.body(), "0");
    }
    assert_eq!(
        site.get("/", &[("cache-control", "no-cache")]).await.body(),
        "1"
    );
    for _ in 0..4 {
        assert_eq!(site.get("/", &[]).await.body(), "1");
    }
}

#[tokio::test]
async fn what_is_not_read_or_stored_costs_little() {
    let server = Arc::new(Server::start());
    let site = warm(&server, |_| reply(&[], "hello")).await;
    for (method, header) in [
        ("GET", "if-match"),
        ("GET", "if-unmodified-since"),
        ("GET", "upgrade"),
        ("OPTIONS", "x"),
    ] {
        let (counts, response) = server
            .count(site.send(request(method, "/a", &[(header, "x")])))
            .await;
        assert_eq!(entries(&counts), [0; 4], "{method} {header}");
        assert!(!status(&response).is_stored());
    }
    let (counts, _) = server.count(site.get("/a", &[])).await;
    assert_eq!(entries(&counts), [1, 0, 0, 0], "{counts:?}");
    let (counts, _) = server.count(site.send(request("POST", "/a", &[]))).await;
    assert_eq!(counts.of("xadd"), 1, "{counts:?}");
}

#[tokio::test]
async fn every_key_expires_when_it_is_of_no_more_use() {
    for (keep, validator, longest) in [
        (Some(Duration::ZERO), None, 60_000),
        (None, None, 120_000),
        (None, Some("\"a\""), 60_000 + 3_600_000),
    ] {
        let settings = |layer: CacheLayer| match keep {
            Some(time) => layer.keep(time),
            None => layer,
        };
        let site = Site::with(settings, move |parts| {
            let vary = match parts.uri.path() {
                "/varying" => "foo",
                _ => "",
            };
            let mut fields = vec![
                ("cache-control", "max-age=100"),
                ("age", "40"),
                ("vary", vary),
            ];
            fields.extend(validator.map(|tag| ("etag", tag)));
            reply(&fields, "x")
        })
        .await;
        site.get("/plain", &[]).await;
        site.get("/varying", &[]).await;
        let keys = site.keys().await;
        assert_eq!(keys.len(), 3);
        let admin = site.server.admin().await;
        for key in &keys {
            let left: i64 = admin.pttl(key).await.expect("PTTL");
            assert!(
                (longest - 50_000..=longest).contains(&left),
                "{key}: {left}"
            );
        }
        // The list of fields and the variant share a slot in a cluster.
        let tag = |key: &String| key.split(['{', '}']).nth(1).expect("braces").to_owned();
        let mut tags: Vec<_> = keys.iter().map(tag).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 2);
    }
}

#[tokio::test]
async fn nothing_stays_longer_than_a_day() {
    let site = Site::new(|_| reply(&[("cache-control", "max-age=31536000")], "x")).await;
    site.get("/a", &[]).await;
    let admin = site.server.admin().await;
    let left: i64 = admin.pttl(&site.keys().await[0]).await.expect("PTTL");
    assert!((1..=86_400_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_longer_living_variant_keeps_the_list_alive() {
    let site = Site::new(|parts| {
        let age = if parts.headers["foo"] == "1" {
            "max-age=10"
        } else {
            "max-age=1000"
        };
        reply(&[("cache-control", age), ("vary", "foo")], "x")
    })
    .await;
    site.get("/a", &[("foo", "1")]).await;
    site.get("/a", &[("foo", "2")]).await;
    let admin = site.server.admin().await;
    let primary = site
        .keys()
        .await
        .into_iter()
        .find(|key| key.ends_with(":0"))
        .expect("a list");
    let left: i64 = admin.pttl(primary).await.expect("PTTL");
    assert!(left > 10_000, "{left}");
}

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
