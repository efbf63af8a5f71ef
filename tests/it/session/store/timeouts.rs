//! Idle and absolute timeouts. Time passes by writing records as they are later, and by Redis's own clock.

use std::time::Duration;

use tower_fred::{Redis, SessionLayer, fred::interfaces::LuaInterface, session::SessionStore};

use crate::session::browser::{Browser, Keys, Place, now, stage};
use crate::support::Server;

const MINUTE: i64 = 60_000;

/// Waits until the key lives longer than `millis`: the extension is not awaited by the response.
async fn wait_until_longer(keys: &Keys, token: &str, millis: i64) {
    for _ in 0..10_000 {
        if keys.left(token).await > millis {
            return;
        }
    }
    panic!("not extended");
}

/// Reads, and lets whatever the response left behind reach Redis: the ping is behind it on the same connection.
async fn read_and_settle(browser: &Browser, redis: &Redis) {
    assert_eq!(browser.get("seed").await, Some(1));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    redis.ping().await.expect("a ping");
}

async fn wait_until_gone(keys: &Keys, token: &str) {
    for _ in 0..100_000 {
        if !keys.exists(token).await {
            return;
        }
    }
    panic!("still there");
}

fn assert_about(left: i64, expected: i64) {
    assert!(left <= expected && left > expected - MINUTE, "{left}");
}

#[tokio::test]
async fn the_defaults_are_half_an_hour_and_half_a_day() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    assert_about(keys.left(&browser.token()).await, 30 * MINUTE);
    let end = keys.field(&browser.token(), "!x").await.unwrap();
    let end: i64 = String::from_utf8(end).unwrap().parse().unwrap();
    assert_about(end - now(), 12 * 60 * MINUTE);
}

#[tokio::test]
async fn both_timeouts_are_settings() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let layer = layer
        .idle_timeout(Duration::from_secs(20 * 60))
        .absolute_timeout(Duration::from_secs(10 * 60));
    let browser = Browser::with_session(&layer).await;
    // The absolute end comes first.
    assert_about(keys.left(&browser.token()).await, 10 * MINUTE);
    browser.set("a", 1).await;
    assert_about(keys.left(&browser.token()).await, 10 * MINUTE);
}

#[tokio::test]
async fn d08_an_idle_session_ends() {
    check_d08_an_idle_session_ends(&Place::server()).await;
}

pub(crate) async fn check_d08_an_idle_session_ends(place: &Place) {
    let (layer, _, keys) = place.stage().await;
    let layer = layer.idle_timeout(Duration::from_millis(5));
    let browser = Browser::with_session(&layer).await;
    let token = browser.token();
    wait_until_gone(&keys, &token).await;
    assert_eq!(browser.get("seed").await, None);
}

#[tokio::test]
async fn d08_a_read_prolongs_at_most_once_per_touch_interval() {
    let server = Server::start();
    let (layer, redis, keys) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    let token = browser.token();

    // Used within the last minute.
    keys.live_for(&token, 30 * MINUTE - 50_000).await;
    let (counts, ()) = server.count(read_and_settle(&browser, &redis)).await;
    assert_eq!(counts.total(), 1, "{counts:?}");

    // Used more than a minute ago.
    keys.live_for(&token, 28 * MINUTE).await;
    let (counts, answer) = server
        .count(async {
            let answer = browser.get("seed").await;
            wait_until_longer(&keys, &token, 29 * MINUTE).await;
            answer
        })
        .await;
    assert_eq!(answer, Some(1));
    assert_eq!(counts.of("pexpireat"), 1, "{counts:?}");
    // Guarded, so that it cannot bring a session back.
    assert_eq!(counts.of("hset"), 1, "{counts:?}");
    assert_about(keys.left(&token).await, 30 * MINUTE);

    // Once: it was just used.
    let (counts, ()) = server.count(read_and_settle(&browser, &redis)).await;
    assert_eq!(counts.total(), 1, "{counts:?}");
}

#[tokio::test]
async fn a_write_prolongs_by_itself() {
    let server = Server::start();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    let token = browser.token();
    for read in [false, true] {
        keys.live_for(&token, 5 * MINUTE).await;
        let (counts, _) = server
            .count(browser.visit(move |session| async move {
                if read {
                    session.get::<i64>("seed").await.unwrap();
                }
                session.insert("a", &read).unwrap();
            }))
            .await;
        // One PEXPIREAT, inside the script.
        assert_eq!(counts.of("pexpireat"), 1, "{counts:?}");
        assert_about(keys.left(&token).await, 30 * MINUTE);
    }
}

/// Redis before 7.2 compares the time of PEXPIREAT with its clock, and not with the time at which the script began. It
/// deleted the record when the end passed in between, and the script went on to write: a record without a secret and
/// without an end stayed.
#[tokio::test]
async fn a_use_that_comes_at_the_end_of_a_session_leaves_no_record() {
    let server = Server::shared();
    let (layer, redis, keys) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    let token = browser.token();
    let hash = keys.field(&token, "!h").await.expect("a hash");
    let script = concat!(
        include_str!("../../../../src/redis/script/lua/prelude.lua"),
        include_str!("../../../../src/session/store/lua/guard.lua"),
        include_str!("../../../../src/session/store/lua/touch.lua")
    );
    // An idle timeout that is over when the script runs.
    let args: [&[u8]; 7] = [b"proof", b"0", &hash, b"", b"-1", b"1", b""];
    let reply: Vec<String> = redis
        .client()
        .eval(
            script,
            vec![keys.key(&token)],
            args.map(<[u8]>::to_vec).to_vec(),
        )
        .await
        .expect("a reply");
    assert_eq!(reply[2..], ["ran", "gone"]);
    assert!(!keys.exists(&token).await);
}

#[tokio::test]
async fn an_untouched_session_is_not_prolonged() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    keys.live_for(&browser.token(), 5 * MINUTE).await;
    browser.visit(|_| async {}).await;
    assert!(keys.left(&browser.token()).await <= 5 * MINUTE);
}

#[tokio::test]
async fn d09_nothing_moves_the_absolute_end() {
    check_d09_nothing_moves_the_absolute_end(&Place::server()).await;
}

pub(crate) async fn check_d09_nothing_moves_the_absolute_end(place: &Place) {
    let (layer, _, keys) = place.stage().await;
    let browser = Browser::with_session(&layer).await;
    let end = (now() + 2 * MINUTE).to_string();
    keys.set_field(&browser.token(), "!x", end.clone()).await;
    keys.live_for(&browser.token(), MINUTE / 2).await;

    browser.get("seed").await;
    wait_until_longer(&keys, &browser.token(), MINUTE).await;
    assert!(keys.left(&browser.token()).await <= 2 * MINUTE);
    browser.set("a", 1).await;
    assert!(keys.left(&browser.token()).await <= 2 * MINUTE);
    browser
        .visit(|session| async move { session.rotate() })
        .await;
    browser
        .visit(|session| async move { session.login("alice").expect("an answer") })
        .await;
    assert!(keys.left(&browser.token()).await <= 2 * MINUTE);
    let stored = keys.field(&browser.token(), "!x").await.expect("an answer");
    assert_eq!(stored, end.into_bytes());
}

#[tokio::test]
async fn d09_past_the_absolute_end_there_is_no_session_whatever_its_time_to_live() {
    check_d09_past_the_absolute_end_there_is_no_session_whatever_its_time_to_live(&Place::server())
        .await;
}

pub(crate) async fn check_d09_past_the_absolute_end_there_is_no_session_whatever_its_time_to_live(
    place: &Place,
) {
    let (layer, _, keys) = place.stage().await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let token = browser.token();
    keys.set_field(&token, "!x", (now() - 1).to_string()).await;
    assert_eq!(browser.user().await, None);

    let answer = browser.set("a", 1).await;
    assert_eq!(answer.set_cookies().len(), 1);
    assert!(!keys.exists(&token).await);
    assert_eq!(browser.user().await, None);
}

#[tokio::test]
async fn d32_every_key_has_an_end_whatever_happened_to_it() {
    check_d32_every_key_has_an_end_whatever_happened_to_it(&Place::server()).await;
}

pub(crate) async fn check_d32_every_key_has_an_end_whatever_happened_to_it(place: &Place) {
    let (layer, redis, keys) = place.stage().await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let visits = (0..40_i64).map(|i| {
        browser.visit(move |session| async move {
            if i % 3 == 0 {
                session.get::<i64>("seed").await.expect("an answer");
            }
            session.insert("a", &i).expect("an answer");
            match i % 10 {
                0 => session.rotate(),
                1 => session.login("bob").expect("an answer"),
                2 => session.logout(),
                3 => session.remove("seed"),
                _ => {}
            }
        })
    });
    futures_util::future::join_all(visits).await;
    let store = SessionStore::new(redis);
    store
        .create(&serde_json::json!({ "a": 1 }))
        .await
        .expect("an answer");
    assert!(!keys.all().await.is_empty());
    keys.assert_all_expire().await;
}

#[tokio::test]
async fn impossible_timeouts_are_refused() {
    let server = Server::shared();
    let (_, redis, _) = stage(&server).await;
    for timeout in [Duration::ZERO, Duration::MAX] {
        for absolute in [true, false] {
            let layer = SessionLayer::new(redis.clone());
            let set = std::panic::AssertUnwindSafe(|| {
                if absolute {
                    layer.absolute_timeout(timeout)
                } else {
                    layer.idle_timeout(timeout)
                }
            });
            assert!(std::panic::catch_unwind(set).is_err(), "{timeout:?}");
        }
    }
}
