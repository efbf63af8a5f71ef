//! Values: typed, flashed, bounded, packed, sealed; secrets stored under a pepper.

use serde::{Deserialize, Serialize};
use tower_fred::{Session, SessionLayer, fred::interfaces::HashesInterface, session::SessionStore};

use super::browser::{Browser, Place};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Shopper {
    theme: String,
    cart: Vec<u64>,
    visits: u32,
    coupon: Option<String>,
}

#[tokio::test]
async fn a_struct_is_a_field_per_field_and_only_changes_are_written() {
    let place = Place::server();
    let (layer, _, keys) = place.stage().await;
    let browser = Browser::new(&layer);
    let answer = browser
        .visit(|session| async move {
            let mut shopper = session.typed::<Shopper>().await.unwrap();
            assert_eq!(*shopper, Shopper::default());
            shopper.theme = "dark".into();
            shopper.coupon = Some("TEN".into());
            shopper.save().unwrap();
        })
        .await;
    assert_eq!(answer.set_cookies().len(), 1);
    let token = browser.token();
    assert_eq!(keys.field(&token, "theme").await.unwrap(), b"\"dark\"");
    // As it was by default.
    assert_eq!(keys.field(&token, "cart").await, None);

    // Two requests that change different fields of it keep both.
    let other = browser.copy();
    browser
        .visit(move |session| async move {
            let mut shopper = session.typed::<Shopper>().await.unwrap();
            assert_eq!(shopper.theme, "dark");
            other
                .visit(|session| async move {
                    let mut shopper = session.typed::<Shopper>().await.unwrap();
                    shopper.cart.push(7);
                    shopper.save().unwrap();
                })
                .await;
            shopper.visits += 1;
            shopper.coupon = None;
            shopper.save().unwrap();
            // Without `save`, nothing.
            session.typed::<Shopper>().await.unwrap().theme = "light".into();
        })
        .await;
    let answer = browser.visit(|session| async move {
        session
            .typed::<Shopper>()
            .await
            .map(|shopper| shopper.clone())
    });
    let expected = Shopper {
        theme: "dark".into(),
        cart: vec![7],
        visits: 1,
        coupon: None,
    };
    assert_eq!(answer.await.value.unwrap(), expected);
    assert_eq!(keys.field(&token, "coupon").await.unwrap(), b"null");
}

#[tokio::test]
async fn what_is_no_struct_or_does_not_fit_is_an_error() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let browser = Browser::new(&layer);
    browser
        .visit(|session| async move {
            assert!(session.typed::<Vec<u8>>().await.unwrap_err().is_codec());
            assert!(session.typed::<u8>().await.unwrap_err().is_codec());
            session.insert("visits", "many").unwrap();
            let error = session.typed::<Shopper>().await.unwrap_err();
            assert!(error.is_codec());
            assert!(!format!("{error} {error:?}").contains("many"));
        })
        .await;
}

#[tokio::test]
async fn flash_messages_are_shown_once_and_none_is_lost() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let browser = Browser::with_session(&layer).await;
    let other = browser.copy();
    browser
        .visit(move |session| async move {
            session.flash("one").unwrap();
            session.flash("two").unwrap();
            other
                .visit(|session| async move { session.flash("three").unwrap() })
                .await;
        })
        .await;
    let shown = || async {
        let visit = browser.visit(|session| async move {
            let shown = session.take_flashes::<String>().await.unwrap();
            assert!(session.take_flashes::<String>().await.unwrap().is_empty());
            shown
        });
        visit.await.value
    };
    let mut messages = shown().await;
    messages.sort();
    assert_eq!(messages, ["one", "three", "two"]);
    assert!(shown().await.is_empty());
    assert_eq!(browser.get("seed").await, Some(1));

    // Within one request, in order, and never in Redis.
    let answer = browser.visit(|session| async move {
        session.flash(&1).unwrap();
        session.flash(&2).unwrap();
        session.take_flashes::<u8>().await.unwrap()
    });
    assert_eq!(answer.await.value, [1, 2]);
    assert!(shown().await.is_empty());

    // One that does not decode is gone all the same: a page that cannot be shown is worse.
    browser
        .visit(|session| async move { session.flash(&1).unwrap() })
        .await;
    let answer = browser.visit(|session| async move {
        session
            .take_flashes::<String>()
            .await
            .unwrap_err()
            .is_codec()
    });
    assert!(answer.await.value);
    assert!(shown().await.is_empty());
}

#[tokio::test]
async fn a_flash_after_a_logout_begins_a_session_for_it() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let browser = Browser::logged_in(&layer, "alice").await;
    browser
        .visit(|session| async move {
            session.logout();
            session.flash("good bye").unwrap();
        })
        .await;
    let answer = browser.visit(|session| async move {
        let messages = session.take_flashes::<String>().await.unwrap();
        (messages, session.user().await.unwrap())
    });
    assert_eq!(answer.await.value, (vec!["good bye".to_owned()], None));
}

#[tokio::test]
async fn d31_one_field_or_byte_too_many_is_refused_and_nothing_of_it_written() {
    check_d31_limits(&Place::server()).await;
}

pub(super) async fn check_d31_limits(place: &Place) {
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
    let answer = super::browser::send(&small, &cookies, |session| async move {
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
    super::browser::send(&json, &cookies, |session| async move {
        session.insert("json", &put).unwrap();
        (http::StatusCode::OK, ())
    })
    .await;
    for layer in [&json, &packed] {
        let expected = cart.clone();
        super::browser::send(layer, &cookies, |session| async move {
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

pub(super) async fn check_d24_sealing(place: &Place) {
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
            let answer = super::browser::send(&layer, &cookies, move |session| async move {
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
    let answer = super::browser::send(&plain, &cookies, |session| async move {
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
        let answer = super::browser::send(&layer, &cookies, |session| async move {
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
async fn d23_under_a_pepper_a_record_of_somebody_with_access_to_redis_opens_nothing() {
    check_d23_pepper(&Place::server()).await;
}

pub(super) async fn check_d23_pepper(place: &Place) {
    let (plain, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis);
    let (old, new) = ([1; 32], [2; 32]);
    let peppered = SessionLayer::over(store.clone().pepper(old));
    // Whoever can write to Redis writes a record whose secret they know, as a server without pepper does.
    let forged = Browser::logged_in(&plain, "root").await;
    let cookie = forged.cookie_header().expect("an answer");
    let user = |layer: &SessionLayer, cookie: &str| {
        let (layer, cookie) = (layer.clone(), cookie.to_owned());
        async move {
            let cookies = [cookie.as_bytes()];
            let answer = super::browser::send(&layer, &cookies, |session| async move {
                (
                    http::StatusCode::OK,
                    session.user().await.expect("an answer"),
                )
            });
            answer.await.value
        }
    };
    assert_eq!(user(&plain, &cookie).await.as_deref(), Some("root"));
    assert_eq!(user(&peppered, &cookie).await, None);

    // Rotation of the pepper logs nobody out, and stores the new hash with the next write.
    let browser = Browser::logged_in(&peppered, "alice").await;
    let cookie = browser.cookie_header().expect("an answer");
    let rotated = SessionLayer::over(store.clone().pepper(new).previous_pepper(old));
    let only_new = SessionLayer::over(store.clone().pepper(new));
    assert_eq!(user(&only_new, &cookie).await, None);
    assert_eq!(user(&rotated, &cookie).await.as_deref(), Some("alice"));
    let before = keys.field(&browser.token(), "!h").await;
    let cookies = [cookie.as_bytes()];
    let write = super::browser::send(&rotated, &cookies, |session| async move {
        assert!(session.user().await.expect("an answer").is_some());
        session.insert("a", &1).expect("an answer");
        (http::StatusCode::OK, ())
    });
    write.await.assert_no_cookie();
    assert_ne!(keys.field(&browser.token(), "!h").await, before);
    assert_eq!(user(&only_new, &cookie).await.as_deref(), Some("alice"));
    // Debug shows no key.
    let shown = format!("{rotated:?}");
    assert!(!shown.contains("[2, 2"), "{shown}");
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
