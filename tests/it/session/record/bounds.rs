//! The size of a session.

use tower_fred::{Session, SessionLayer, fred::interfaces::HashesInterface, session::SessionStore};

use crate::session::browser::{Browser, Place};

#[tokio::test]
async fn d31_one_field_or_byte_too_many_is_refused_and_nothing_of_it_written() {
    check_d31_limits(&Place::server()).await;
}

pub(crate) async fn check_d31_limits(place: &Place) {
    let (_, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis).most_fields(3).most_bytes(100);
    let layer = SessionLayer::over(store.clone());
    let browser = Browser::with_session(&layer).await;
    // Blind: the number of fields is Redis's to know.
    let commit = |change: fn(&Session)| {
        browser.visit(move |session| async move {
            change(&session);
            session.commit().await.map_err(|error| error.is_codec())
        })
    };
    let two_more = |session: &Session| {
        session.insert("a", &1).expect("an answer");
        session.insert("b", &1).expect("an answer");
    };
    assert_eq!(commit(two_more).await.value, Ok(()));
    let answer = commit(|session| {
        session.insert("a", &2).expect("an answer");
        session.insert("c", &1).expect("an answer");
    });
    assert_eq!(answer.await.value, Err(true));
    assert_eq!(browser.get("a").await, Some(1), "a part was written");
    // In the place of another it fits.
    let answer = commit(|session| {
        session.remove("b");
        session.insert("c", &1).expect("an answer");
    });
    assert_eq!(answer.await.value, Ok(()));
    let answer = browser.visit(|session| async move {
        session.incr("d", 1).await.expect_err("an error").is_codec()
            && session
                .update("d", |_: Option<i64>| 1)
                .await
                .expect_err("an error")
                .is_codec()
    });
    assert!(answer.await.value);

    // 100 bytes: seed and its 1, a and its 1, c and what is left, with its quotes.
    let answer = commit(|session| session.insert("c", &"x".repeat(91)).expect("an answer"));
    assert_eq!(answer.await.value, Err(true));
    let answer = commit(|session| session.insert("c", &"x".repeat(90)).expect("an answer"));
    assert_eq!(answer.await.value, Ok(()));
    // What makes it smaller is always welcome, also where a setting became less.
    let small = SessionLayer::over(store.clone().most_bytes(10));
    let cookie = browser.cookie_header().expect("an answer");
    let cookies = [cookie.as_bytes()];
    let answer = crate::session::browser::send(&small, &cookies, |session| async move {
        session.insert("c", &"x".repeat(80)).expect("an answer");
        (http::StatusCode::OK, session.commit().await.is_ok())
    });
    assert!(answer.await.value);
    assert_eq!(
        keys.field(&browser.token(), "!b").await.expect("an answer"),
        b"90"
    );
    assert_eq!(
        keys.field(&browser.token(), "!f").await.expect("an answer"),
        b"3"
    );
}

#[tokio::test]
async fn d31_a_new_session_is_bounded_and_a_response_does_not_claim_what_was_refused() {
    let place = Place::server();
    let (_, redis, _) = place.stage().await;
    let store = SessionStore::new(redis).most_fields(3).most_bytes(100);
    let fields = serde_json::json!({ "a": 1, "b": 1, "c": 1, "d": 1 });
    assert!(
        store
            .create(&fields)
            .await
            .expect_err("an error")
            .is_codec()
    );
    let fields = serde_json::json!({ "a": "x".repeat(100) });
    assert!(
        store
            .create(&fields)
            .await
            .expect_err("an error")
            .is_codec()
    );
    let layer = SessionLayer::over(store);
    let browser = Browser::with_session(&layer).await;
    let answer = browser
        .visit(|session| async move { session.insert("e", &"x".repeat(100)).unwrap() })
        .await;
    assert_eq!(answer.status, 500);
}

/// The fields that a listpack would hold: a record is small, and grows by nothing.
#[tokio::test]
async fn d32_a_record_does_not_grow_with_use() {
    let place = Place::server();
    let (layer, _, keys) = place.stage().await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let count = async || {
        let fields: Vec<String> = keys.admin.hkeys(keys.key(&browser.token())).await.unwrap();
        fields.len()
    };
    browser.set("a", 0).await;
    let before = count().await;
    for number in 0..10 {
        browser.set("a", number).await;
        browser
            .visit(|session| async move {
                session.rotate();
                session.flash("x").unwrap();
            })
            .await;
        browser
            .visit(|session| async move { session.take_flashes::<String>().await.unwrap() })
            .await;
    }
    assert_eq!(count().await, before);
}
