//! Structs as sessions, and flash messages.

use serde::{Deserialize, Serialize};

use crate::session::browser::{Browser, Place};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shopper {
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
