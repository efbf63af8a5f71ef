//! Fixation, replay, guessing, and what a look into Redis, headers or logs gives away.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use tower_fred::{
    fred::interfaces::{ClientLike, HashesInterface},
    session::SessionStore,
};

use super::{
    browser::{Browser, Keys, Place, send, stage},
    log::logged_at,
};
use crate::support::{Server, topology::run};

/// A well-formed token that no server issued.
fn foreign_token() -> String {
    "A".repeat(64)
}

#[tokio::test]
async fn d02_a_token_that_was_not_issued_is_never_adopted() {
    for read in [true, false] {
        let server = Server::shared();
        let (layer, _, keys) = stage(&server).await;
        let sent = format!("__Host-id={}", foreign_token());
        let answer = send(&layer, &[sent.as_bytes()], move |session| async move {
            if read {
                assert_eq!(session.get::<i64>("a").await.unwrap(), None);
                assert_eq!(session.id(), None);
            }
            session.insert("a", &1).unwrap();
            (StatusCode::OK, ())
        })
        .await;
        assert_eq!(answer.set_cookies().len(), 1);
        assert!(!answer.set_cookies()[0].contains(&foreign_token()[..21]));
        assert!(!keys.exists(&foreign_token()).await);
        assert_eq!(keys.all().await.len(), 1);
    }
}

#[tokio::test]
async fn a_token_that_was_not_issued_is_not_removed_by_a_read() {
    let server = Server::shared();
    let (layer, ..) = stage(&server).await;
    let sent = format!("__Host-id={}", foreign_token());
    let answer = send(&layer, &[sent.as_bytes()], |session| async move {
        (StatusCode::OK, session.user().await.unwrap())
    })
    .await;
    answer.assert_no_cookie();
    assert_eq!(answer.value, None);
}

#[tokio::test]
async fn the_id_with_another_secret_opens_nothing() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let token = browser.token();
    // The last character changes only the secret.
    let last = if token.ends_with('A') { 'B' } else { 'A' };
    let forged = format!("__Host-id={}{last}", &token[..63]);
    for write in [true, false] {
        let answer = send(&layer, &[forged.as_bytes()], move |session| async move {
            if write {
                session.insert("seed", &666).unwrap();
            } else {
                assert_eq!(session.user().await.unwrap(), None);
                assert_eq!(session.get::<i64>("seed").await.unwrap(), None);
            }
            (StatusCode::OK, ())
        })
        .await;
        assert_eq!(answer.set_cookies().len(), usize::from(write));
    }
    let answer = send(&layer, &[forged.as_bytes()], |session| async move {
        session.logout();
        (StatusCode::OK, ())
    })
    .await;
    answer.assert_no_cookie();
    assert!(keys.exists(&token).await);
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
    assert_eq!(browser.get("seed").await, Some(1));
}

#[tokio::test]
async fn d04_d05_a_login_changes_the_token_by_itself_and_the_old_one_is_dead() {
    check_d04_d05_a_login_changes_the_token_by_itself_and_the_old_one_is_dead(&Place::server())
        .await;
}

pub(super) async fn check_d04_d05_a_login_changes_the_token_by_itself_and_the_old_one_is_dead(
    place: &Place,
) {
    let (layer, ..) = place.stage().await;
    let browser = Browser::with_session(&layer).await;
    let before = browser.copy();
    browser
        .visit(|session| async move { session.login("alice").expect("an answer") })
        .await;
    assert_ne!(browser.token(), before.token());
    assert_eq!(browser.token()[..21], before.token()[..21]);
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
    assert_eq!(before.user().await, None);
    before.set("seed", 666).await.assert_no_cookie();
    assert_eq!(browser.get("seed").await, Some(1));

    // Proving it again changes it again.
    let earlier = browser.copy();
    browser
        .visit(|session| async move { session.login("alice").expect("an answer") })
        .await;
    assert_ne!(browser.token(), earlier.token());
    assert_eq!(earlier.user().await, None);
}

#[tokio::test]
async fn a_rotation_keeps_everything_but_the_secret() {
    let server = Server::shared();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let before = browser.copy();
    let old_id = id(&browser).await;
    assert!(old_id.is_some());
    browser
        .visit(|session| async move { session.rotate() })
        .await;
    assert_ne!(browser.token(), before.token());
    assert_eq!(id(&browser).await, old_id);
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
    assert_eq!(browser.get("seed").await, Some(1));
    assert_eq!(before.user().await, None);
}

#[tokio::test]
async fn the_replaced_token_is_known_for_a_minute_then_nobodys() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    let before = browser.copy();
    browser
        .visit(|session| async move { session.rotate() })
        .await;
    before.set("a", 1).await.assert_no_cookie();
    keys.set_field(&browser.token(), "!g", "1").await;
    let answer = before.set("a", 1).await;
    assert_eq!(answer.set_cookies().len(), 1);
    assert_ne!(before.token()[..21], browser.token()[..21]);
    assert_eq!(browser.get("a").await, None);
}

#[tokio::test]
async fn a_logout_is_final() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let thief = browser.copy();
    browser.log_out().await.assert_removes_cookie();
    assert_eq!(browser.cookie_header(), None);
    assert!(keys.all().await.is_empty());
    assert_eq!(thief.user().await, None);
    // Once more, from a tab that did not notice: the cookie goes, nothing comes.
    thief.log_out().await.assert_removes_cookie();
    assert!(keys.all().await.is_empty());
}

#[tokio::test]
async fn names_with_a_mark_are_out_of_reach() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let fields: Vec<String> = keys.admin.hkeys(keys.key(&browser.token())).await.unwrap();
    // Without a read, which would show that there is nothing to remove.
    browser
        .visit(|session| async move {
            for key in ["!h", "!u", "!x", "!a"] {
                session.remove(key);
            }
        })
        .await;
    browser
        .visit(|session| async move {
            for key in ["!h", "!u", "!x", "!a", "!", ""] {
                assert!(session.insert(key, &1).unwrap_err().is_codec(), "{key}");
                assert_eq!(session.get::<i64>(key).await.unwrap(), None, "{key}");
                session.remove(key);
            }
        })
        .await;
    let after: Vec<String> = keys.admin.hkeys(keys.key(&browser.token())).await.unwrap();
    assert_eq!(fields.len(), after.len());
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn d31_sizes_are_bounded_before_anything_is_sent() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    let (counts, answer) = server
        .count(browser.visit(|session| async move {
            let long_key = "k".repeat(129);
            let large = "v".repeat(64 * 1024);
            assert!(session.insert(&long_key, &1).unwrap_err().is_codec());
            assert!(session.insert("k", &large).unwrap_err().is_codec());
            assert!(session.login("").unwrap_err().is_codec());
            assert!(session.login("u".repeat(257)).unwrap_err().is_codec());
        }))
        .await;
    assert_eq!(counts.total(), 0, "{counts:?}");
    answer.assert_no_cookie();

    let answer = browser
        .visit(|session| async move {
            session.insert(&"k".repeat(128), &1).unwrap();
            session.insert("k", &"v".repeat(64 * 1024 - 2)).unwrap();
            session.login("u".repeat(256)).unwrap();
            session.commit().await
        })
        .await;
    answer.value.unwrap();
    assert_eq!(browser.user().await, Some("u".repeat(256)));
}

async fn id(browser: &Browser) -> Option<String> {
    let answer = browser
        .visit(|session| async move {
            session.user().await.expect("a user");
            session.id()
        })
        .await;
    answer.value
}

/// Everything of one namespace, keys and values.
async fn dump(keys: &Keys) -> Vec<u8> {
    let mut dump = Vec::new();
    for key in keys.all().await {
        dump.extend_from_slice(key.as_bytes());
        if !keys.sessions().await.contains(&key) {
            let members: Vec<String> = run(&keys.admin, "ZRANGE", &[&key, "0", "-1"])
                .await
                .expect("a sorted set");
            dump.extend_from_slice(members.concat().as_bytes());
            continue;
        }
        let fields: std::collections::HashMap<String, bytes::Bytes> =
            keys.admin.hgetall(key).await.expect("a hash");
        for (field, value) in fields {
            dump.extend_from_slice(field.as_bytes());
            dump.extend_from_slice(&value);
        }
    }
    dump
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

#[tokio::test]
async fn d23_no_secret_is_at_rest() {
    let server = Server::shared();
    let (layer, redis, keys) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let issued = SessionStore::new(redis)
        .create(&serde_json::json!({}))
        .await
        .unwrap();
    let dump = dump(&keys).await;
    assert!(contains(&dump, b"alice"));
    for token in [browser.token(), issued.cookie_value()] {
        // The id is 21 whole characters; what follows is secret, also in raw form.
        assert!(contains(&dump, &token.as_bytes()[..21]));
        let secret = &token[24..];
        let raw = URL_SAFE_NO_PAD.decode(secret).unwrap();
        for part in secret.as_bytes().windows(8).chain(raw.windows(8)) {
            assert!(!contains(&dump, part), "{part:?}");
        }
    }
}

#[tokio::test]
async fn d18_no_secret_is_in_a_log_a_header_a_body_or_debug() {
    let (log, guard) = logged_at(tracing::Level::TRACE);

    let server = Server::start();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    let mut tokens = vec![browser.token()];
    let stale = browser.copy();
    let answer = browser
        .visit(|session| async move {
            session.login("alice").unwrap();
            format!("{session:?}")
        })
        .await;
    tokens.push(browser.token());
    let mut shown = format!("{layer:?}{:?}{}", answer.value, answer.body);
    for (name, value) in &answer.headers {
        // The one place where it belongs, which Debug does not show.
        shown += &format!("{name}: {value:?}\n");
    }
    let refused = stale.set("a", 1).await;
    shown += &format!("{:?}", refused.headers);
    keys.set_field(&browser.token(), "seed", "\"hunter2\"")
        .await;
    shown += &browser
        .visit(|session| async move { format!("{:?}", session.get::<i64>("seed").await) })
        .await
        .value;
    let late = browser.copy();
    late.visit(|session| async move { session.user().await.unwrap() })
        .await;
    browser.log_out().await;
    late.set("a", 1).await;
    server.kill();
    late.visit(|session| async move { session.get::<i64>("a").await.unwrap_err() })
        .await;
    drop(guard);

    shown += &log.text();
    assert!(shown.contains("tower_fred::session"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    for token in tokens {
        assert!(!shown.contains(&token[..21]), "the id, in {shown}");
        assert!(!shown.contains(&token[24..32]), "the secret, in {shown}");
    }
}

#[tokio::test]
async fn a_key_that_is_taken_is_left_alone() {
    let server = Server::shared();
    let (layer, redis, keys) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let key = keys.key(&browser.token());
    // What create.lua does when its random id is taken, by the script itself.
    let script = concat!(
        include_str!("../../../src/redis/script/lua/prelude.lua"),
        include_str!("../../../src/session/store/lua/create.lua")
    );
    let args = [
        "proof", "0", "hash", "lineage", "1000", "1000", "1", "7", "seed", "666",
    ];
    let reply: Vec<String> = tower_fred::fred::interfaces::LuaInterface::eval(
        &redis.client(),
        script,
        vec![key],
        args.to_vec(),
    )
    .await
    .unwrap();
    assert_eq!(reply[2..], ["ran", "exists"]);
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
    assert_eq!(browser.get("seed").await, Some(1));
    keys.admin.quit().await.unwrap();
}
