//! Processes of the version before and of this one on the same server. Without a pepper they work side by side.

use tower_fred::{
    fred::interfaces::{HashesInterface, KeysInterface},
    session::SessionStore,
};

use crate::session::browser::{Browser, Keys, Place, now};
use crate::support::topology::run;

async fn list_key(keys: &Keys) -> String {
    let all = keys.all().await;
    all.into_iter()
        .find(|key| key.contains(":u:"))
        .expect("an answer")
}

/// As if the list of the session's user had been asked long ago.
async fn age(keys: &Keys, browser: &Browser) {
    keys.set_field(&browser.token(), "!e", (now() - 120_000).to_string())
        .await;
}

/// An earlier version does not note which session `revoke_others` keeps: the kept one ended at a use a minute later.
#[tokio::test]
async fn a_revocation_by_an_earlier_version_does_not_end_the_session_that_it_kept() {
    let place = Place::server();
    let (layer, redis, keys) = place.stage().await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let list = list_key(&keys).await;
    let mark = (-now() - 1_000).to_string();
    for _ in 0..2 {
        run::<i64>(&keys.admin, "ZADD", &[&list, &mark, "!"])
            .await
            .expect("an answer");
        age(&keys, &browser).await;
        assert_eq!(browser.user().await.as_deref(), Some("alice"));
        // Nor does one of this version that came before.
        let id = browser.visit(|session| async move {
            session.user().await.expect("an answer");
            session.id().expect("an answer")
        });
        let id = id.await.value;
        let store = SessionStore::new(redis.clone());
        store.revoke_others("alice", &id).await.expect("an answer");
    }
    // A list of an earlier version that lost its clock refuses nobody for ever.
    let future = (-now() - 3_600_000).to_string();
    for mark in ["!", "!!"] {
        run::<i64>(&keys.admin, "ZADD", &[&list, &future, mark])
            .await
            .expect("an answer");
    }
    let later = Browser::with_session(&layer).await;
    crate::support::patiently("a login", async {
        while later
            .visit(|session| async move { session.login("alice").expect("an answer") })
            .await
            .status
            != 200
        {}
    })
    .await;
    age(&keys, &later).await;
    assert_eq!(later.user().await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_session_of_an_earlier_version_goes_on_and_is_revoked() {
    let place = Place::server();
    let (layer, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis);
    let browser = Browser::logged_in(&layer, "alice").await;
    let key = keys.key(&browser.token());
    for _ in 0..2 {
        keys.admin
            .hdel::<(), _, _>(&key, vec!["!e", "!r"])
            .await
            .expect("an answer");
        assert_eq!(browser.user().await.as_deref(), Some("alice"));
        assert_eq!(store.list("alice").await.expect("an answer").len(), 1);
        assert_eq!(browser.set("seed", 2).await.status, 200);
    }
    // What an earlier version does not know is not there, as there is no pepper.
    for field in ["!t", "!q"] {
        assert_eq!(keys.field(&browser.token(), field).await, None);
    }
    keys.admin
        .hdel::<(), _, _>(&key, vec!["!e", "!r"])
        .await
        .expect("an answer");
    let list = list_key(&keys).await;
    keys.admin.del::<(), _>(list).await.expect("an answer");
    assert_eq!(store.revoke_all("alice").await.expect("an answer"), 0);
    assert_eq!(browser.user().await, None);
}
