//! The object beneath the layer, without HTTP.

use std::{collections::HashMap, time::Duration};

use serde::Serialize;
use tower_fred::session::SessionStore;

use crate::session::browser::{Browser, stage};
use crate::support::Server;

#[derive(Serialize)]
struct Fields {
    theme: &'static str,
    cart: Vec<u32>,
}

#[tokio::test]
async fn a_session_is_made_loaded_and_ended() {
    let server = Server::shared();
    let (_, redis, keys) = stage(&server).await;
    let store = SessionStore::new(redis);
    let fields = Fields {
        theme: "dark",
        cart: vec![1, 2],
    };
    let token = store.create(&fields).await.unwrap();
    let value = token.cookie_value();
    let record = store.load(&value).await.unwrap().unwrap();
    assert_eq!(record.id(), token.id());
    assert_eq!(record.user(), None);
    assert_eq!(
        record.get::<String>("theme").unwrap().as_deref(),
        Some("dark")
    );
    assert_eq!(record.get::<Vec<u32>>("cart").unwrap(), Some(vec![1, 2]));
    assert_eq!(record.get::<u8>("absent").unwrap(), None);
    assert!(record.get::<u8>("theme").unwrap_err().is_codec());
    // A field per key, as the layer writes them.
    assert_eq!(keys.field(&value, "cart").await.unwrap(), b"[1,2]");

    assert!(store.destroy(&value).await.unwrap());
    assert!(!store.destroy(&value).await.unwrap());
    assert!(store.load(&value).await.unwrap().is_none());
}

#[tokio::test]
async fn a_session_of_a_user() {
    let server = Server::shared();
    let (_, redis, keys) = stage(&server).await;
    let store = SessionStore::new(redis);
    let empty: HashMap<String, ()> = HashMap::new();
    let token = store.create_for("alice", &empty).await.unwrap();
    let record = store.load(&token.cookie_value()).await.unwrap().unwrap();
    assert_eq!(record.user(), Some("alice"));
    assert!(keys.field(&token.cookie_value(), "!a").await.is_some());
    assert!(store.create_for("", &empty).await.unwrap_err().is_codec());
}

#[tokio::test]
async fn the_layer_and_the_store_know_the_same_sessions() {
    let server = Server::shared();
    let (layer, redis, _) = stage(&server).await;
    let store = SessionStore::new(redis);
    let browser = Browser::logged_in(&layer, "alice").await;
    let record = store.load(&browser.token()).await.unwrap().unwrap();
    assert_eq!(record.user(), Some("alice"));
    assert_eq!(record.get::<i64>("seed").unwrap(), Some(1));
    assert!(store.destroy(&browser.token()).await.unwrap());
    assert_eq!(browser.user().await, None);
}

#[tokio::test]
async fn a_load_is_a_use() {
    let server = Server::start();
    let (_, redis, keys) = stage(&server).await;
    let store = SessionStore::new(redis).idle_timeout(Duration::from_secs(600));
    let value = store
        .create(&serde_json::json!({}))
        .await
        .unwrap()
        .cookie_value();
    keys.live_for(&value, 300_000).await;
    let (counts, _) = server.count(store.load(&value)).await;
    assert_eq!(counts.of("pexpireat"), 1, "{counts:?}");
    assert!(keys.left(&value).await > 300_000);
    let (counts, _) = server.count(store.load(&value)).await;
    assert_eq!(counts.total(), 1, "{counts:?}");
}

#[tokio::test]
async fn what_is_no_token_costs_nothing() {
    let server = Server::start();
    let (_, redis, _) = stage(&server).await;
    let store = SessionStore::new(redis);
    let (counts, ()) = server
        .count(async {
            for value in ["", "x", &"A".repeat(63), &"ä".repeat(32), "{}*\r\n"] {
                assert!(store.load(value).await.unwrap().is_none());
                assert!(!store.destroy(value).await.unwrap());
            }
        })
        .await;
    assert_eq!(counts.total(), 0, "{counts:?}");
}

#[tokio::test]
async fn fields_that_cannot_be_stored_are_refused() {
    let server = Server::start();
    let (_, redis, _) = stage(&server).await;
    let store = SessionStore::new(redis);
    let (counts, ()) = server
        .count(async {
            for fields in [
                serde_json::json!(1),
                serde_json::json!([1]),
                serde_json::json!({ "!h": 1 }),
                serde_json::json!({ "": 1 }),
                serde_json::json!({ "k": "v".repeat(64 * 1024) }),
            ] {
                assert!(store.create(&fields).await.unwrap_err().is_codec());
            }
        })
        .await;
    assert_eq!(counts.total(), 0, "{counts:?}");
}

#[tokio::test]
async fn it_works_over_a_pool() {
    let server = Server::shared();
    let store = SessionStore::new(server.pooled().await);
    for _ in 0..4 {
        let token = store.create(&serde_json::json!({ "a": 1 })).await.unwrap();
        let record = store.load(&token.cookie_value()).await.unwrap().unwrap();
        assert_eq!(record.get::<i64>("a").unwrap(), Some(1));
    }
}
