//! Sessions that the real tower-sessions and its Redis store left behind.

use std::{collections::HashMap, time::Duration};

use http::StatusCode;
use tower_fred::{
    SessionLayer,
    fred::interfaces::KeysInterface,
    session::{SessionStore, TowerSessions},
};
use tower_sessions::{
    SessionStore as _,
    cookie::time::OffsetDateTime,
    session::{Id, Record},
};
use tower_sessions_redis_store::RedisStore;

use super::browser::{Browser, Place, send};
use crate::support::Server;

/// A session of tower-sessions: what its cookie says.
async fn old_session(server: &Server, values: serde_json::Value, life: Duration) -> String {
    let client = server.admin().await;
    let data: HashMap<String, serde_json::Value> = serde_json::from_value(values).expect("a map");
    let mut record = Record {
        id: Id::default(),
        data,
        expiry_date: OffsetDateTime::now_utc() + life,
    };
    let store = RedisStore::new(client);
    store.create(&mut record).await.expect("a session");
    record.id.to_string()
}

async fn read(layer: &SessionLayer, cookie: &str) -> (Option<i64>, Option<String>, Vec<String>) {
    let answer = send(layer, &[cookie.as_bytes()], |session| async move {
        let seed = session.get("seed").await.expect("a read");
        (
            StatusCode::OK,
            (seed, session.user().await.expect("a user")),
        )
    })
    .await;
    let cookies = answer
        .set_cookies()
        .into_iter()
        .map(str::to_owned)
        .collect();
    (answer.value.0, answer.value.1, cookies)
}

#[tokio::test]
async fn a_session_of_tower_sessions_is_taken_over_once_under_a_new_token() {
    let server = Server::shared();
    let (layer, redis, keys) = Place::Server(server.clone()).stage().await;
    let layer = layer.import_tower_sessions(
        TowerSessions::new().user_from(|values| Some(values.get("user")?.as_str()?.to_owned())),
    );
    let hour = Duration::from_secs(3600);
    let values = serde_json::json!({ "seed": 7, "user": "alice", "!h": 1, "cart": [1, 2] });
    let old = old_session(&server, values, hour).await;
    let before: bytes::Bytes = keys.admin.dump(&old).await.unwrap();
    let cookie = format!("id={old}");
    let (seed, user, cookies) = read(&layer, &cookie).await;
    assert_eq!((seed, user.as_deref()), (Some(7), Some("alice")));
    assert_eq!(cookies.len(), 2);
    assert!(
        cookies[0].starts_with("id=; ") && cookies[0].contains("Max-Age=0"),
        "{cookies:?}"
    );
    assert!(cookies[1].starts_with("__Host-id="), "{cookies:?}");
    assert!(!cookies[1].contains(&old));
    let ours = cookies[1].split(';').next().unwrap();
    assert_eq!(read(&layer, ours).await.0, Some(7));
    // The new one counts, were the old cookie still there.
    assert_eq!(read(&layer, &format!("{cookie}; {ours}")).await.2.len(), 0);
    assert_eq!(
        SessionStore::new(redis).list("alice").await.unwrap().len(),
        1
    );

    // Only read, and once: a thief of the old cookie is too late.
    let after: bytes::Bytes = keys.admin.dump(&old).await.unwrap();
    assert_eq!(before, after);
    assert_eq!(read(&layer, &cookie).await, (None, None, Vec::new()));
    assert_eq!(keys.sessions().await.len(), 1);
    keys.assert_all_expire().await;
}

#[tokio::test]
async fn a_write_without_a_read_takes_it_over_as_well() {
    let server = Server::shared();
    let (layer, ..) = Place::Server(server.clone()).stage().await;
    let layer = layer.import_tower_sessions(TowerSessions::new().cookie_name("shop.sid"));
    let hour = Duration::from_secs(3600);
    for add in [true, false] {
        let old = old_session(&server, serde_json::json!({ "seed": 7 }), hour).await;
        let cookie = format!("shop.sid={old}");
        let answer = send(&layer, &[cookie.as_bytes()], move |session| async move {
            if add {
                session.incr("seed", 1).await.unwrap();
            } else {
                session.insert("a", &1).unwrap();
            }
            (StatusCode::OK, ())
        })
        .await;
        let cookies = answer.set_cookies();
        assert_eq!(cookies.len(), 2, "{cookies:?}");
        let ours = cookies[1].split(';').next().unwrap();
        let expected = if add { 8 } else { 7 };
        assert_eq!(read(&layer, ours).await.0, Some(expected));
    }
}

#[tokio::test]
async fn what_is_over_foreign_or_untouched_is_not_taken_over() {
    let server = Server::shared();
    let (plain, redis, keys) = Place::Server(server.clone()).stage().await;
    let layer = plain.clone().import_tower_sessions(TowerSessions::new());
    let hour = Duration::from_secs(3600);
    let seven = serde_json::json!({ "seed": 7 });
    let old = old_session(&server, seven.clone(), hour).await;
    // Untouched: nothing is asked.
    let cookie = format!("id={old}");
    send(&layer, &[cookie.as_bytes()], |_| async {
        (StatusCode::OK, ())
    })
    .await
    .assert_no_cookie();
    // Without the importer, nothing is known of it.
    assert_eq!(read(&plain, &cookie).await, (None, None, Vec::new()));
    assert!(keys.all().await.is_empty());

    // A record under another's key, as a reply that was crossed would be.
    let other = old_session(&server, seven, hour).await;
    let bytes: bytes::Bytes = keys.admin.get(&other).await.unwrap();
    let set = keys.admin.set::<(), _, _>(&old, bytes, None, None, false);
    set.await.unwrap();
    assert_eq!(read(&layer, &cookie).await.0, None);
    for garbage in ["", "\u{1}", "not a record"] {
        let set = keys.admin.set::<(), _, _>(&old, garbage, None, None, false);
        set.await.unwrap();
        assert_eq!(read(&layer, &cookie).await.0, None, "{garbage:?}");
    }
    for garbage in ["id=", "id=x", &format!("id={}", "A".repeat(22)), "id=*{}"] {
        assert_eq!(read(&layer, garbage).await.0, None, "{garbage:?}");
    }
    let _: () = keys.admin.del(vec![old, other]).await.unwrap();
    // A browser without any cookie.
    let browser = Browser::new(&layer);
    assert_eq!(browser.get("seed").await, None);
    drop(redis);
}
