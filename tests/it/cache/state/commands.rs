//! How many Redis commands a request needs, and when keys expire.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{Response, request::Parts};
use tower_fred::{CacheLayer, cache::Forward, fred::interfaces::KeysInterface};

use crate::cache::entries;
use crate::cache::{Site, fresh, is_hit, reply, request, status};
use crate::support::Server;

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
        // Safe methods that are not HTTP's own outdated the page.
        ("PROPFIND", "x"),
        ("QUERY", "x"),
        ("REPORT", "x"),
        ("SEARCH", "x"),
    ] {
        let (counts, response) = server
            .count(site.send(request(method, "/a", &[(header, "x")])))
            .await;
        assert_eq!(entries(&counts), [0; 4], "{method} {header}");
        assert!(!status(&response).is_stored());
        assert_eq!(counts.of("xadd"), 0, "{method}");
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
