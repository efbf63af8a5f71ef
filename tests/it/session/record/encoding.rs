//! Values as `MessagePack`, and sealed values.

use tower_fred::{SessionLayer, session::SessionStore};

use crate::session::{
    browser::{Browser, Place},
    handle::values::Shopper,
};

#[tokio::test]
async fn values_as_messagepack_and_as_json_are_read_side_by_side() {
    let place = Place::server();
    let (json, redis, keys) = place.stage().await;
    let packed = SessionLayer::over(SessionStore::new(redis).messagepack());
    let browser = Browser::new(&packed);
    let cart = (vec![1_u64, 300], "text".to_owned());
    let put = cart.clone();
    browser
        .visit(move |session| async move { session.insert("packed", &put).unwrap() })
        .await;
    let stored = keys.field(&browser.token(), "packed").await.unwrap();
    assert_eq!(stored[0], 1);
    let cookie = browser.cookie_header().unwrap();
    let cookies = [cookie.as_bytes()];
    let put = cart.clone();
    crate::session::browser::send(&json, &cookies, |session| async move {
        session.insert("json", &put).unwrap();
        (http::StatusCode::OK, ())
    })
    .await;
    for layer in [&json, &packed] {
        let expected = cart.clone();
        crate::session::browser::send(layer, &cookies, |session| async move {
            for key in ["packed", "json"] {
                let value: Option<(Vec<u64>, String)> = session.get(key).await.unwrap();
                assert_eq!(value.as_ref(), Some(&expected), "{key}");
            }
            // A struct goes either way, and a counter is a number in both.
            session.typed::<Shopper>().await.unwrap().save().unwrap();
            session.incr("count", 1).await.unwrap();
            (http::StatusCode::OK, ())
        })
        .await;
    }
    assert_eq!(browser.get("count").await, Some(2));
}

#[tokio::test]
async fn d24_a_sealed_value_opens_in_no_other_session_and_under_no_other_key() {
    check_d24_sealing(&Place::server()).await;
}

pub(crate) async fn check_d24_sealing(place: &Place) {
    let (plain, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis);
    let layer = SessionLayer::over(store.clone().seal(&[1; 32]));
    let (one, other) = (
        Browser::with_session(&layer).await,
        Browser::with_session(&layer).await,
    );
    one.visit(|session| async move {
        session.insert("pin", "hunter2").expect("an answer");
        session.insert("word", "other").expect("an answer");
        assert_eq!(session.incr("count", 2).await.expect("an answer"), 2);
        assert_eq!(session.incr("count", 2).await.expect("an answer"), 4);
    })
    .await;
    let pin = keys.field(&one.token(), "pin").await.expect("an answer");
    assert!(!pin.windows(7).any(|part| part == b"hunter2"));
    assert_eq!(one.get("count").await, Some(4));
    let read = |browser: &Browser, layer: &SessionLayer, key: &'static str| {
        let (cookie, layer) = (browser.cookie_header().expect("an answer"), layer.clone());
        async move {
            let cookies = [cookie.as_bytes()];
            let answer =
                crate::session::browser::send(&layer, &cookies, move |session| async move {
                    let value = session.get::<String>(key).await;
                    let other_works = session.get::<i64>("seed").await.is_ok();
                    (http::StatusCode::OK, (value, other_works))
                });
            let (value, other_works) = answer.await.value;
            (value.map_err(|error| error.is_corrupt()), other_works)
        }
    };
    let found = Ok(Some("hunter2".to_owned()));
    assert_eq!(read(&one, &layer, "pin").await, (found.clone(), true));

    // Moved to another session, and to another field.
    keys.set_field(&other.token(), "pin", pin.clone()).await;
    assert_eq!(read(&other, &layer, "pin").await, (Err(true), true));
    keys.set_field(&one.token(), "word", pin.clone()).await;
    assert_eq!(read(&one, &layer, "word").await, (Err(true), true));
    // Written by somebody without the key.
    keys.set_field(&other.token(), "pin", "\"mine\"").await;
    assert_eq!(read(&other, &layer, "pin").await, (Err(true), true));

    // A new key, while the old one is read; then without it.
    let rotated = SessionLayer::over(store.clone().seal(&[2; 32]).previous_seal(&[1; 32]));
    assert_eq!(read(&one, &rotated, "pin").await, (found.clone(), true));
    let new = SessionLayer::over(store.clone().seal(&[2; 32]));
    assert_eq!(read(&one, &new, "pin").await.0, Err(true));
    // Without any key it is an error, not data.
    let cookie = one.cookie_header().expect("an answer");
    let cookies = [cookie.as_bytes()];
    let answer = crate::session::browser::send(&plain, &cookies, |session| async move {
        let error = session.get::<String>("pin").await.expect_err("an error");
        (http::StatusCode::OK, error.is_codec())
    });
    assert!(answer.await.value);
}

#[tokio::test]
async fn an_application_that_begins_to_seal_reads_what_is_not_sealed_if_it_says_so() {
    let place = Place::server();
    let (plain, redis, _) = place.stage().await;
    let store = SessionStore::new(redis).seal(&[1; 32]);
    let browser = Browser::with_session(&plain).await;
    let cookie = browser.cookie_header().unwrap();
    for (store, readable) in [(store.clone(), false), (store.accept_unsealed(), true)] {
        let layer = SessionLayer::over(store);
        let cookies = [cookie.as_bytes()];
        let answer = crate::session::browser::send(&layer, &cookies, |session| async move {
            (http::StatusCode::OK, session.get::<i64>("seed").await.ok())
        });
        assert_eq!(answer.await.value, readable.then_some(Some(1)));
    }
}

#[tokio::test]
async fn updates_of_sealed_values_lose_nothing() {
    let place = Place::server();
    let (_, redis, _) = place.stage().await;
    let layer = SessionLayer::over(SessionStore::new(redis).seal(&[1; 32]));
    let browser = Browser::with_session(&layer).await;
    let visits = (0..20).map(|_| {
        browser.visit(|session| async move {
            session.incr("n", 1).await.unwrap();
            session
                .update("m", |m: Option<i64>| m.unwrap_or(0) + 1)
                .await
                .unwrap();
        })
    });
    futures_util::future::join_all(visits).await;
    assert_eq!(browser.get("n").await, Some(20));
    assert_eq!(browser.get("m").await, Some(20));
}

#[tokio::test]
async fn settings_of_values_that_cannot_work_are_refused() {
    let place = Place::server();
    let (_, redis, _) = place.stage().await;
    let store = SessionStore::new(redis);
    let refused = |change: &dyn Fn(SessionStore) -> SessionStore| {
        let store = store.clone();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| change(store))).is_err()
    };
    assert!(refused(&|store| store.pepper("short")));
    assert!(refused(&|store| store.previous_pepper("short")));
    assert!(refused(&|store| store.log_key("short")));
    assert!(refused(&|store| store.previous_seal(&[1; 32])));
    assert!(refused(&|store| store.accept_unsealed()));
    assert!(refused(&|store| store.evict_above(0)));
    assert!(refused(&|store| store.refuse_above(1001)));
    assert!(refused(&|store| store.realm("")));
    assert!(refused(&|store| store.realm("a:b")));
    assert!(refused(&|store| store.realm("{a}")));
    assert!(!refused(&|store| store.realm("admin")));
}
