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

use super::browser::{Browser, Keys, Place, send};
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

async fn end_grace(keys: &Keys) {
    for key in keys.all().await {
        if key.ends_with(":new") {
            keys.admin.del::<(), _>(key).await.expect("deleted");
        }
    }
}

fn by_user() -> TowerSessions {
    TowerSessions::new().user_from(|values| Some(values.get("user")?.as_str()?.to_owned()))
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

    // Only read. Within the grace, a request that left before finds the same session; it brings no cookie.
    let after: bytes::Bytes = keys.admin.dump(&old).await.unwrap();
    assert_eq!(before, after);
    let again = (Some(7), Some("alice".to_owned()), Vec::new());
    assert_eq!(read(&layer, &cookie).await, again);
    // Once: after that, a thief of the old cookie is too late.
    end_grace(&keys).await;
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

/// The second of two first requests made a session of its own, and its cookie competed with that of the first.
#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn requests_at_once_are_given_one_session_and_one_cookie() {
    let server = Server::shared();
    let hour = Duration::from_secs(3600);
    let pepper = [7; 32];
    for (peppered, write, limit) in [
        (false, false, None),
        (false, true, None),
        (true, true, None),
        (false, true, Some(true)),
        (true, false, Some(false)),
    ] {
        let (_, redis, keys) = Place::Server(server.clone()).stage().await;
        let mut store = SessionStore::new(redis);
        if peppered {
            store = store.pepper(pepper);
        }
        store = match limit {
            None => store,
            Some(true) => store.evict_above(1),
            Some(false) => store.refuse_above(1),
        };
        let layer = SessionLayer::over(store.clone()).import_tower_sessions(by_user());
        for round in 0..20 {
            let user = format!("user{round}");
            let values = serde_json::json!({ "seed": 7, "user": user });
            let cookie = format!("id={}", old_session(&server, values, hour).await);
            let sessions = keys.sessions().await.len();
            let visits = (0..3).map(|number| {
                let (layer, cookie) = (layer.clone(), cookie.clone());
                async move {
                    let cookies = [cookie.as_bytes()];
                    send(&layer, &cookies, move |session| async move {
                        if write {
                            session.insert(&format!("k{number}"), &number).unwrap();
                        } else {
                            assert_eq!(session.get::<i64>("seed").await.unwrap(), Some(7));
                            assert!(session.user().await.unwrap().is_some());
                        }
                        session.insert("last", &number).unwrap();
                        (StatusCode::OK, ())
                    })
                    .await
                }
            });
            let answers = futures_util::future::join_all(visits).await;
            let cookies: Vec<&str> = answers
                .iter()
                .flat_map(|answer| {
                    assert_eq!(answer.status, StatusCode::OK);
                    answer.set_cookies()
                })
                .filter(|cookie| cookie.starts_with("__Host-id="))
                .collect();
            assert_eq!(cookies.len(), 1, "{round} {cookies:?}");
            assert_eq!(keys.sessions().await.len(), sessions + 1);
            let ours = cookies[0].split(';').next().unwrap().to_owned();
            let cookies = [ours.as_bytes()];
            let answer = send(&layer, &cookies, move |session| async move {
                assert_eq!(session.user().await.unwrap(), Some(user));
                assert_eq!(session.get::<i64>("seed").await.unwrap(), Some(7));
                for number in 0..3 {
                    let value = session.get::<i64>(&format!("k{number}")).await.unwrap();
                    assert_eq!(value, write.then_some(number));
                }
                (StatusCode::OK, ())
            });
            answer.await;
        }
        keys.assert_all_expire().await;
    }
}

/// It ended nothing, since there was no session of ours yet: the next request was logged in.
#[tokio::test]
async fn a_logout_ends_an_old_session_before_and_after_it_was_taken_over() {
    let server = Server::shared();
    let (layer, _, keys) = Place::Server(server.clone()).stage().await;
    let layer = layer.import_tower_sessions(by_user());
    let hour = Duration::from_secs(3600);
    for (read_before, insert_after, status) in [
        (false, false, 200),
        (false, true, 200),
        (true, false, 200),
        (true, true, 200),
        (false, false, 500),
    ] {
        for taken_over in [false, true] {
            let values = serde_json::json!({ "seed": 7, "user": "alice" });
            let cookie = format!("id={}", old_session(&server, values, hour).await);
            let mut ours = None;
            if taken_over {
                let (seed, _, cookies) = read(&layer, &cookie).await;
                assert_eq!(seed, Some(7));
                ours = Some(cookies[1].split(';').next().unwrap().to_owned());
            }
            let cookies = [cookie.as_bytes()];
            let answer = send(&layer, &cookies, move |session| async move {
                if read_before {
                    assert_eq!(session.get::<i64>("seed").await.unwrap(), Some(7));
                }
                session.logout();
                if insert_after {
                    session.insert("new", &1).unwrap();
                }
                assert_eq!(session.get::<i64>("seed").await.unwrap(), None);
                (StatusCode::from_u16(status).unwrap(), ())
            });
            let answer = answer.await;
            if !taken_over {
                assert!(
                    answer
                        .set_cookies()
                        .iter()
                        .any(|cookie| cookie.starts_with("id=;"))
                );
            }
            // The browser, or a thief, with the old cookie and with the new one.
            assert_eq!(read(&layer, &cookie).await, (None, None, Vec::new()));
            if let Some(ours) = &ours {
                assert_eq!(read(&layer, ours).await.1, None);
                assert_eq!(read(&layer, &format!("{ours}; {cookie}")).await.1, None);
            }
        }
    }
    keys.assert_all_expire().await;
}

#[tokio::test]
async fn a_logout_that_cannot_reach_the_old_session_is_an_error() {
    let server = Server::start();
    let (layer, ..) = super::browser::stage(&server).await;
    let layer = layer
        .import_tower_sessions(by_user())
        .anonymous_on_failure();
    let values = serde_json::json!({ "seed": 7, "user": "alice" });
    let old = old_session(&server, values, Duration::from_secs(3600)).await;
    server.stop();
    let cookie = format!("id={old}");
    let cookies = [cookie.as_bytes()];
    let answer = send(&layer, &cookies, |session| async move {
        session.logout();
        (StatusCode::OK, ())
    });
    let answer = answer.await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    answer.assert_no_cookie();
    server.resume();
}

/// An old cookie logged in after all sessions of its user were revoked.
/// During a roll-out, a request with the cookie waited for a process that was not at work, and was an error.
#[tokio::test]
async fn what_an_earlier_version_took_over_is_over() {
    let server = Server::shared();
    let (layer, _, keys) = Place::Server(server.clone()).stage().await;
    let layer = layer.import_tower_sessions(by_user());
    let values = serde_json::json!({ "seed": 7 });
    let id = old_session(&server, values, Duration::from_secs(3600)).await;
    let cookie = format!("id={id}");
    assert_eq!(read(&layer, &cookie).await.0, Some(7));
    end_grace(&keys).await;
    let all = keys.all().await;
    let note = all.iter().find(|key| key.contains(":i:")).unwrap();
    keys.admin
        .set::<(), _, _>(note, "1", None, None, false)
        .await
        .unwrap();
    assert_eq!(read(&layer, &cookie).await.0, None);
}

#[tokio::test]
async fn an_old_session_is_older_than_any_revocation_of_its_user() {
    let server = Server::shared();
    let hour = Duration::from_secs(3600);
    for limit in [None, Some(true), Some(false)] {
        let (_, redis, keys) = Place::Server(server.clone()).stage().await;
        let plain = SessionStore::new(redis);
        let store = match limit {
            None => plain.clone(),
            Some(true) => plain.clone().evict_above(2),
            Some(false) => plain.clone().refuse_above(2),
        };
        let layer = SessionLayer::over(store).import_tower_sessions(by_user());
        let values = |user: &str| serde_json::json!({ "seed": 7, "user": user });
        let mut old = Vec::new();
        for user in ["alice", "alice", "bob"] {
            let id = old_session(&server, values(user), hour).await;
            old.push(format!("id={id}"));
        }
        assert_eq!(read(&layer, &old[0]).await.1.as_deref(), Some("alice"));
        // By whoever revokes, also without the importer.
        assert_eq!(plain.revoke_all("alice").await.unwrap(), 1);
        end_grace(&keys).await;
        for _ in 0..2 {
            for cookie in &old[..2] {
                let (seed, user, cookies) = read(&layer, cookie).await;
                assert_eq!((seed, user), (None, None));
                assert!(cookies.iter().all(|cookie| cookie.starts_with("id=;")));
            }
        }
        // A login of today is no import.
        let browser = Browser::new(&layer);
        crate::support::patiently("a login", async {
            while browser
                .visit(|session| async move { session.login("alice").unwrap() })
                .await
                .status
                != StatusCode::OK
            {}
        })
        .await;
        assert_eq!(read(&layer, &old[1]).await.1, None);
        assert_eq!(read(&layer, &old[2]).await.1.as_deref(), Some("bob"));
        keys.assert_all_expire().await;
    }
}
