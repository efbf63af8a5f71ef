use std::{sync::Arc, time::Duration};

use tower_fred::{
    cache::Forward,
    fred::{interfaces::KeysInterface, types::Value},
};

use crate::cache::{Site, custom, field, fresh, is_hit, reply, request, status};
use crate::support::Server;

#[tokio::test]
async fn foreign_data_is_a_miss_and_overwritten() {
    let site = Site::new(|_| fresh("x")).await;
    site.get("/a", &[]).await;
    let key = site.keys().await.remove(0);
    let admin = site.server.admin().await;
    let foreign: [(&'static str, &[&str]); 4] = [
        ("SET", &["garbage"]),
        ("SET", &[""]),
        ("RPUSH", &["a", "b"]),
        ("HSET", &["field", "value"]),
    ];
    for (command, words) in foreign {
        let _: () = admin.del(&key).await.expect("DEL");
        let words = [&[key.as_str()], words].concat();
        let _: Value = custom(
            &admin,
            command,
            words.into_iter().map(Value::from).collect(),
        )
        .await;
        assert!(!is_hit(&site.get("/a", &[]).await), "{command}");
        assert!(is_hit(&site.get("/a", &[]).await), "{command}");
    }
}

#[tokio::test]
async fn damaged_data_is_a_miss() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [Damage; 5] = [
        |value| value.truncate(value.len() - 1),
        |value| value.truncate(20),
        |value| value.push(0),
        |value| {
            // The last byte of the body.
            *value.last_mut().expect("a body") ^= 1;
        },
        |value| {
            // The version.
            value[2] += 1;
        },
    ];
    for damage in damages {
        let site = Site::new(|_| fresh("content")).await;
        site.get("/a", &[]).await;
        site.tamper(|_| {}).await;
        assert!(is_hit(&site.get("/a", &[]).await));
        site.tamper(damage).await;
        let miss = site.get("/a", &[]).await;
        assert!(!is_hit(&miss) && miss.body() == "content");
        assert_eq!(status(&miss).forward(), Some(Forward::UriMiss));
    }
}

#[tokio::test]
async fn an_entry_under_another_key_is_a_miss() {
    let site = Site::new(|parts| fresh(parts.uri.path().to_owned())).await;
    site.get("/a", &[]).await;
    let a = site.keys().await.remove(0);
    site.get("/b", &[]).await;
    let keys = site.keys().await;
    let b = keys.iter().find(|key| **key != a).expect("another key");
    let admin = site.server.admin().await;
    let _: Value = custom(
        &admin,
        "COPY",
        vec![a.as_str().into(), b.as_str().into(), "REPLACE".into()],
    )
    .await;
    let answer = site.get("/b", &[]).await;
    assert!(!is_hit(&answer) && answer.body() == "/b");
}

#[tokio::test]
async fn the_handler_answers_when_redis_is_gone() {
    let server = Arc::new(Server::start());
    let site = Site::on(server.clone(), |layer| layer, |_| fresh("x")).await;
    site.get("/a", &[]).await;
    server.kill();
    for (method, code) in [("GET", 200), ("HEAD", 200), ("POST", 200)] {
        let answer = site.send(request(method, "/a", &[])).await;
        assert_eq!(answer.status().as_u16(), code, "{method}");
        assert!(!is_hit(&answer));
    }
    let answer = site.get("/a", &[]).await;
    assert_eq!(status(&answer).forward(), Some(Forward::Bypass));
    assert_eq!(
        field(&answer, "cache-status"),
        Some("tower-fred; fwd=bypass; detail=unavailable")
    );
    assert!(!status(&answer).is_stored());
    assert_eq!(site.calls(), 5);

    server.restart();
    // It comes back by itself.
    until_hit(&site).await;
}

#[tokio::test]
async fn the_handler_answers_when_redis_hangs() {
    let server = Arc::new(Server::start());
    let site = Site::on(server.clone(), |layer| layer, |_| fresh("x")).await;
    site.get("/a", &[]).await;
    server.stop();
    let answer = tower::ServiceExt::oneshot(site.service(), request("GET", "/a", &[])).await;
    let answer = answer.expect("an answer");
    assert_eq!(status(&answer).forward(), Some(Forward::Bypass));
    server.resume();
    until_hit(&site).await;
}

#[tokio::test]
async fn redis_may_lose_what_is_stored() {
    let site = Site::new(|_| reply(&[("cache-control", "max-age=60"), ("vary", "foo")], "x")).await;
    site.get("/a", &[]).await;
    let admin = site.server.admin().await;
    let variant = site
        .keys()
        .await
        .into_iter()
        .find(|key| !key.ends_with(":0"))
        .expect("a variant");
    let _: () = admin.del(&variant).await.expect("DEL");
    let miss = site.get("/a", &[]).await;
    assert_eq!(status(&miss).forward(), Some(Forward::VaryMiss));
    assert!(is_hit(&site.get("/a", &[]).await));
    let primary = site
        .keys()
        .await
        .into_iter()
        .find(|key| key.ends_with(":0"))
        .expect("a list");
    let _: () = admin.del(&primary).await.expect("DEL");
    assert!(!is_hit(&site.get("/a", &[]).await));
    assert!(is_hit(&site.get("/a", &[]).await));
}

#[tokio::test]
async fn a_stale_entry_is_not_used_even_if_redis_still_has_it() {
    let site = Site::with(
        |layer| layer.ttl(Duration::from_millis(20)).keep(Duration::ZERO),
        |_| reply(&[], "x"),
    )
    .await;
    site.get("/a", &[]).await;
    let admin = site.server.admin().await;
    let Some(key) = site.keys().await.pop() else {
        return; // Slower than the lifetime: nothing to see.
    };
    let value: Option<bytes::Bytes> = admin.get(&key).await.expect("GET");
    let Some(value) = value else { return };
    // Wait for the end of the entry by Redis's clock, then put it back without one.
    while admin.exists::<bool, _>(&key).await.expect("EXISTS") {}
    let _: () = admin
        .set(&key, value, None, None, false)
        .await
        .expect("SET");
    let answer = site.get("/a", &[]).await;
    assert_eq!(status(&answer).forward(), Some(Forward::UriMiss));
}

/// Asks until Redis takes part again.
async fn until_hit(site: &Site) {
    for _ in 0..1_000_000 {
        if is_hit(&site.get("/a", &[]).await) {
            return;
        }
        // Commands that fail at once leave the runtime no time to reconnect.
        tokio::task::yield_now().await;
    }
    panic!("no hit");
}
