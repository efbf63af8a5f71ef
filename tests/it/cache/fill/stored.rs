//! When an answer counts as stored.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use futures_util::{StreamExt, stream};

use tokio::{task::yield_now, time::timeout};
use tower_fred::cache::CacheFor;

use super::feed::{PATIENCE, paced};
use crate::cache::{Site, custom, field, fresh, is_hit, reply, request, status};
use crate::support::Server;

/// `stored` was said of what might be stored later, or not at all (RFC 9211 §2.5).
#[tokio::test]
async fn stored_is_said_of_what_is_stored() {
    let text = |parts: &'static [&str]| stream::iter(parts).map(|part| Ok::<_, &str>(*part));
    let site = Site::with(
        |layer| layer.max_body(10),
        move |parts| match parts.uri.path() {
            "/whole" => fresh("0123456789"),
            "/empty" => fresh(Body::empty()),
            "/ready" => fresh(Body::from_stream(text(&["one ", "two"]))),
            "/later" => fresh(Body::new(paced(vec!["one".into()]))),
            "/long" => fresh("0123456789x"),
            "/longer" => fresh(Body::from_stream(text(&["0123456789", "x"]))),
            "/private" => reply(&[("cache-control", "private")], "x"),
            "/shorter" => reply(
                &[("cache-control", "max-age=60"), ("content-length", "8")],
                Body::from_stream(text(&["one ", "two"])),
            ),
            _ => reply(&[], "x"),
        },
    )
    .await;
    for (method, path, said, stored) in [
        ("GET", "/whole", true, true),
        ("GET", "/empty", true, true),
        ("GET", "/ready", true, true),
        ("GET", "/later", false, true),
        ("GET", "/long", false, false),
        ("GET", "/longer", false, false),
        ("GET", "/private", false, false),
        ("GET", "/shorter", false, false),
        ("GET", "/nothing", false, false),
        ("HEAD", "/other", false, false),
    ] {
        let before = site.keys().await.len();
        let answer = site.send(request(method, path, &[])).await;
        assert_eq!(status(&answer).is_stored(), said, "{path}");
        let field = field(&answer, "cache-status").expect("a field");
        assert_eq!(field.contains("; stored"), said, "{path}: {field}");
        assert_eq!(site.keys().await.len() > before, stored, "{path}");
    }
}

/// A server that is full takes no entry, however complete.
#[tokio::test]
async fn stored_is_not_said_while_redis_takes_nothing() {
    let server = Arc::new(Server::start());
    let site = Site::on(server.clone(), |layer| layer, |_| fresh("x")).await;
    let admin = server.admin().await;
    let set_memory = async |most: &str| {
        let change = ["SET", "maxmemory", most].map(Into::into).to_vec();
        let _: String = custom(&admin, "CONFIG", change).await;
    };
    assert!(status(&site.get("/first", &[]).await).is_stored());
    set_memory("1").await;
    // Only by the first one it is seen.
    site.get("/a", &[]).await;
    for path in ["/a", "/b"] {
        let answer = site.get(path, &[]).await;
        assert!(!status(&answer).is_stored(), "{path}");
        assert_eq!(answer.body(), "x");
    }
    set_memory("0").await;
    site.get("/a", &[]).await;
    assert!(status(&site.get("/b", &[]).await).is_stored());
}

/// A refresh in the background reads what comes late as well.
#[tokio::test]
async fn a_refresh_stores_a_body_that_comes_late() {
    let calls = AtomicUsize::new(0);
    let site = Site::with(
        |layer| layer,
        move |_| {
            let number = calls.fetch_add(1, Ordering::SeqCst) + 1;
            let mut answer = reply(&[], Body::new(paced(vec![number.to_string().into()])));
            let lasting = CacheFor::secs(10).stale_while_revalidate(Duration::from_secs(600));
            answer.extensions_mut().insert(lasting);
            answer
        },
    )
    .await;
    assert_eq!(site.get("/", &[]).await.body(), "1");
    crate::cache::travel(&site.server, &site.redis, Duration::from_secs(20)).await;
    let stale = site.get("/", &[]).await;
    assert!(is_hit(&stale) && stale.body() == "1");
    let renewed = async {
        while site.get("/", &[]).await.body() != "2" {
            yield_now().await;
        }
    };
    timeout(PATIENCE, renewed).await.expect("it is made anew");
}

/// While versions run side by side, an entry of the one before is a hit like any other, and a purge reaches it. One of a
/// version that is not known is a miss that nothing is logged of, and is replaced.
#[tokio::test]
async fn an_entry_of_the_version_before_is_used_and_purged() {
    let site = Site::new(|_| {
        let mut answer = fresh("hello");
        answer
            .extensions_mut()
            .insert(CacheFor::secs(60).tags(["all"]));
        answer
    })
    .await;
    let before = |value: &mut Vec<u8>| {
        value[2] = 4;
        let sum = blake3::hash(&value[11..]);
        value[3..11].copy_from_slice(&sum.as_bytes()[..8]);
    };
    site.get("/", &[]).await;
    site.tamper(before).await;
    let hit = site.get("/", &[]).await;
    assert!(is_hit(&hit) && hit.body() == "hello");
    site.redis.purge().tag("all").await.expect("purged");
    assert!(!is_hit(&site.get("/", &[]).await));
    assert!(is_hit(&site.get("/", &[]).await), "it was replaced");

    site.tamper(|value| value[2] = 6).await;
    assert!(!is_hit(&site.get("/", &[]).await));
    assert!(is_hit(&site.get("/", &[]).await), "it was replaced");
    assert_eq!(site.calls(), 3);
}
