//! A server whose memory is full evicts keys, or refuses writes.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;
use tower_fred::{
    fred::{clients::Client, interfaces::KeysInterface},
    session::{Login, SessionStore},
};

use crate::session::browser::{Browser, Keys, Place, now, stage};
use crate::support::{Server, patiently, topology::run};

pub(crate) async fn list_key(keys: &Keys) -> Option<String> {
    keys.all().await.into_iter().find(|key| key.contains(":u:"))
}

async fn drop_lists(keys: &Keys) {
    for key in keys.all().await {
        if key.contains(":u:") {
            keys.admin.del::<(), _>(key).await.expect("an answer");
        }
    }
}

/// As if the list of the session's user had been asked long ago.
async fn age(keys: &Keys, browser: &Browser) {
    keys.set_field(&browser.token(), "!e", (now() - 120_000).to_string())
        .await;
}

async fn configure(admin: &Client, name: &str, value: &str) {
    run::<String>(admin, "CONFIG", &["SET", name, value])
        .await
        .expect("an answer");
}

async fn used_memory(admin: &Client) -> u64 {
    let info: String = run(admin, "INFO", &["memory"]).await.expect("an answer");
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    line.expect("an answer").trim().parse().expect("an answer")
}

/// The list is touched by logins alone, so LRU took it first: `revoke_all` ended none of 40 active sessions.
#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn active_sessions_of_an_evicted_list_end_within_a_touch_interval_of_their_revocation() {
    const INTERVAL: Duration = Duration::from_secs(10);
    let server = Server::start();
    let (layer, redis, keys) = stage(&server).await;
    let layer = layer.idle_timeout(INTERVAL * 10);
    let store = layer.store();
    drop(redis);
    let browsers = join_all((0..40).map(|_| Browser::logged_in(&layer, "alice"))).await;
    let bob = Browser::logged_in(&layer, "bob").await;
    // Redis evicts the least recently used key first: the lists, then the fillers, and last the sessions, which are in use.
    // Its LRU clock counts whole seconds, so only time makes a difference between keys.
    let fill = async |number: usize| {
        let (key, filler) = (format!("filler{number}"), "x".repeat(10_000));
        let set = keys.admin.set::<(), _, _>(key, filler, None, None, false);
        set.await.expect("an answer");
    };
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    for number in 0..200 {
        fill(number).await;
    }
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    for browser in &browsers {
        assert_eq!(browser.user().await.as_deref(), Some("alice"));
    }
    assert!(bob.user().await.is_some());
    let list = keys.all().await;
    let lists: Vec<&String> = list.iter().filter(|key| key.contains(":u:")).collect();
    assert_eq!(lists.len(), 2);
    configure(&keys.admin, "maxmemory-samples", "64").await;
    configure(&keys.admin, "maxmemory-policy", "allkeys-lru").await;
    let limit = used_memory(&keys.admin).await;
    configure(&keys.admin, "maxmemory", &limit.to_string()).await;
    let mut number = 200;
    while keys
        .admin
        .exists::<u64, _>(lists[0])
        .await
        .expect("an answer")
        + keys
            .admin
            .exists::<u64, _>(lists[1])
            .await
            .expect("an answer")
        > 0
    {
        fill(number).await;
        number += 1;
        assert!(number < 20_000, "the lists are not evicted");
    }
    configure(&keys.admin, "maxmemory", "0").await;

    assert_eq!(
        store.revoke_all("alice").await.expect("an answer"),
        0,
        "none is listed"
    );
    let revoked = Instant::now();
    let mut left: Vec<&Browser> = browsers.iter().collect();
    while !left.is_empty() {
        let users = join_all(left.iter().map(|browser| browser.user())).await;
        left = left
            .into_iter()
            .zip(users)
            .filter_map(|(browser, user)| user.map(|_| browser))
            .collect();
        // What the machine is busy with is no part of the promise.
        let bound = INTERVAL + Duration::from_secs(3);
        assert!(revoked.elapsed() < bound, "{} survive", left.len());
    }
    assert!(bob.user().await.is_some());
    patiently("a use that lists him again", async {
        while store.list("bob").await.expect("an answer").is_empty() {
            assert!(bob.user().await.is_some());
        }
    })
    .await;
    assert_eq!(store.revoke_all("bob").await.expect("an answer"), 1);
    keys.assert_all_expire().await;
}

#[tokio::test]
async fn a_use_lists_a_session_again_and_meets_a_revocation() {
    check_a_use_meets_its_list(&Place::server()).await;
}

#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
pub(crate) async fn check_a_use_meets_its_list(place: &Place) {
    let (layer, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis);
    // Evicted and used: listed again, with all its life.
    let browser = Browser::logged_in(&layer, "alice").await;
    drop_lists(&keys).await;
    assert!(browser.user().await.is_some());
    assert!(
        store.list("alice").await.expect("an answer").is_empty(),
        "not asked yet"
    );
    age(&keys, &browser).await;
    assert!(browser.user().await.is_some());
    let listed = store.list("alice").await.expect("an answer");
    assert_eq!(listed.len(), 1);
    let life: i64 = keys
        .admin
        .pttl(list_key(&keys).await.expect("an answer"))
        .await
        .expect("an answer");
    assert!(life > 11 * 3_600_000, "{life}");
    assert_eq!(store.revoke_all("alice").await.expect("an answer"), 1);

    // Evicted and revoked: over at the first use that asks, of whatever kind.
    for kind in ["read", "load", "alive", "write", "add", "login"] {
        let user = Login::of(format!("carol-{kind}"));
        let name = user.clone();
        let browser = Browser::with_session(&layer).await;
        browser
            .visit(|session| async move { session.login(name).expect("an answer") })
            .await;
        let token = browser.token();
        drop_lists(&keys).await;
        assert_eq!(
            store
                .revoke_all(&format!("carol-{kind}"))
                .await
                .expect("an answer"),
            0
        );
        assert!(browser.user().await.is_some(), "{kind}: not asked yet");
        age(&keys, &browser).await;
        match kind {
            "load" => assert!(store.load(&token).await.expect("an answer").is_none()),
            _ => {
                let answer = browser.visit(move |session| async move {
                    match kind {
                        "read" => {
                            assert_eq!(session.get::<i64>("seed").await.expect("an answer"), None);
                        }
                        "alive" => assert!(!session.is_alive().await.expect("an answer")),
                        "write" => session.insert("a", &1).expect("an answer"),
                        "add" => drop(session.incr("a", 1).await.expect("an answer")),
                        _ => session.login(user).expect("an answer"),
                    }
                });
                answer.await;
            }
        }
        patiently("the end of the session", async {
            while keys.exists(&token).await {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(store.load(&token).await.expect("an answer").is_none());
    }

    // The one that is kept goes on, and so does a login after the revocation; what was not listed does not.
    let kept = Browser::logged_in(&layer, "dora").await;
    let other = Browser::logged_in(&layer, "dora").await;
    drop_lists(&keys).await;
    let count =
        kept.visit(|session| async move { session.revoke_others().await.expect("an answer") });
    assert_eq!(count.await.value, 0);
    let later = Browser::with_session(&layer).await;
    patiently("a login after the revocation", async {
        while later
            .visit(|session| async move { session.login("dora").expect("an answer") })
            .await
            .status
            != StatusCode::OK
        {}
    })
    .await;
    for (browser, alive) in [(&kept, true), (&later, true), (&other, false)] {
        age(&keys, browser).await;
        assert_eq!(browser.user().await.is_some(), alive);
    }
    // Until the next one.
    store.revoke_others("dora", "").await.expect("an answer");
    assert!(kept.user().await.is_none() && later.user().await.is_none());

    // What does not hold, as the docs say: both the list and the mark are gone.
    let browser = Browser::logged_in(&layer, "erin").await;
    drop_lists(&keys).await;
    store.revoke_all("erin").await.expect("an answer");
    drop_lists(&keys).await;
    age(&keys, &browser).await;
    assert!(browser.user().await.is_some());
    // It is listed again, so the next one ends it.
    assert_eq!(store.revoke_all("erin").await.expect("an answer"), 1);
    assert!(browser.user().await.is_none());
    keys.assert_all_expire().await;
}

/// The touch wrote before it extended, so that users were logged out; a revocation noted itself before it deleted.
#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn a_full_memory_refuses_writes_and_neither_reads_nor_the_end_of_sessions() {
    let server = Server::start();
    let (layer, redis, keys) = stage(&server).await;
    let store = SessionStore::new(redis);
    let mut users = Vec::new();
    for user in ["alice", "alice", "alice", "bob", "carol", "dora"] {
        users.push(Browser::logged_in(&layer, user).await);
    }
    configure(&keys.admin, "maxmemory-policy", "noeviction").await;
    // Scripts that the server does not have are sent again while it is full.
    run::<String>(&keys.admin, "SCRIPT", &["FLUSH"])
        .await
        .expect("an answer");
    configure(&keys.admin, "maxmemory", "1").await;

    // Reads go on, and prolong the session; with the list asked, and without.
    for asked in [false, true] {
        let token = users[3].token();
        keys.admin
            .pexpire::<(), _>(keys.key(&token), 60_000, None)
            .await
            .expect("an answer");
        // The field has as many digits as before, and Redis refuses even that from others.
        let field = if asked { "!e" } else { "!s" };
        configure(&keys.admin, "maxmemory", "0").await;
        keys.set_field(&token, field, (now() - 120_000).to_string())
            .await;
        configure(&keys.admin, "maxmemory", "1").await;
        assert_eq!(users[3].user().await.as_deref(), Some("bob"));
        patiently("a session that is prolonged", async {
            while keys.left(&token).await < 1_700_000 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let noted = keys.field(&token, field).await.expect("an answer");
        let noted: i64 = String::from_utf8(noted)
            .expect("an answer")
            .parse()
            .expect("an answer");
        assert!(noted > now() - 60_000, "{field} is noted");
    }
    // Writes are an error of the server and change nothing.
    let answer = users[4].set("seed", 2).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let answer = users[4].visit(|session| async move {
        let error = session.incr("seed", 1).await.expect_err("an error");
        (error.is_unavailable(), error.is_codec())
    });
    assert_eq!(answer.await.value, (true, false));
    let answer =
        users[4].visit(|session| async move { session.login("carol").expect("an answer") });
    assert_eq!(answer.await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(users[4].get("seed").await, Some(1));
    assert_eq!(users[4].user().await.as_deref(), Some("carol"));

    // Sessions end: by logout, by handle, all of a user.
    let token = users[4].token();
    users[4].log_out().await.assert_removes_cookie();
    assert!(!keys.exists(&token).await);
    let id = store.list("dora").await.expect("an answer")[0]
        .id()
        .to_owned();
    assert!(store.revoke("dora", &id).await.expect("an answer"));
    let unlisted = users[0].token();
    let list = keys.all().await;
    for key in list.iter().filter(|key| key.contains(":u:")) {
        // One of alice's is not listed.
        let _: i64 = run(
            &keys.admin,
            "ZREM",
            &[key, &store_id(&store, &unlisted).await],
        )
        .await
        .expect("an answer");
    }
    assert_eq!(store.revoke_all("alice").await.expect("an answer"), 2);
    assert!(users[1].user().await.is_none() && users[2].user().await.is_none());
    // The revocation was noted as well.
    configure(&keys.admin, "maxmemory", "0").await;
    age(&keys, &users[0]).await;
    assert!(users[0].user().await.is_none());
    assert_eq!(users[3].set("seed", 2).await.status, StatusCode::OK);
    assert_eq!(users[3].get("seed").await, Some(2));
    keys.assert_all_expire().await;
}

async fn store_id(store: &SessionStore, token: &str) -> String {
    store
        .load(token)
        .await
        .expect("an answer")
        .expect("an answer")
        .id()
        .to_owned()
}
