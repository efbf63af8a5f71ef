//! Tokens that open nothing: events for the application, and the log.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    SessionLayer,
    session::{SessionStore, Suspicion},
};

use crate::session::{
    browser::{Browser, Place, send},
    log::logged,
};

/// What the hook was told.
type Events = Arc<Mutex<Vec<(Suspicion, String, Option<String>)>>>;

fn watched(layer: SessionLayer) -> (SessionLayer, Events) {
    let events = Events::default();
    let told = Arc::clone(&events);
    let layer = layer
        .client_from(|parts| parts.uri.path().to_owned())
        .on_security_event(move |event| {
            let client = event.client().map(str::to_owned);
            let event = (event.suspicion(), event.session().to_owned(), client);
            told.lock().expect("an answer").push(event);
        });
    (layer, events)
}

#[tokio::test]
async fn d26_unknown_mismatching_and_stale_tokens_are_told_with_who_sent_them() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let (layer, events) = watched(layer);
    let browser = Browser::with_session(&layer).await;
    browser.get("seed").await;
    browser.set("seed", 2).await;
    let stale = browser.copy();
    browser
        .visit(|session| async move { session.login("alice").unwrap() })
        .await;
    assert!(events.lock().unwrap().is_empty(), "nothing was wrong");

    let token = browser.token();
    let forged = format!("{}{}", &token[..22], "A".repeat(42));
    let unknown = "A".repeat(64);
    for (value, suspicion) in [
        (stale.token(), Suspicion::Stale),
        (forged, Suspicion::Mismatch),
        (unknown, Suspicion::Unknown),
    ] {
        for write in [true, false] {
            let cookie = format!("__Host-id={value}");
            send(&layer, &[cookie.as_bytes()], move |session| async move {
                if write {
                    session.insert("a", &1).unwrap();
                } else {
                    session.user().await.unwrap();
                }
                (StatusCode::OK, ())
            })
            .await;
            let seen: Vec<_> = events.lock().unwrap().drain(..).collect();
            assert_eq!(seen.len(), 1, "{seen:?}");
            assert_eq!(seen[0].0, suspicion);
            assert_eq!(seen[0].2.as_deref(), Some("/"));
            assert!(!value.contains(&seen[0].1) && seen[0].1.len() == 16);
        }
    }
}

#[tokio::test]
async fn d25_the_log_tells_of_a_session_s_life_under_a_keyed_hash() {
    let (log, guard) = logged();
    let place = Place::server();
    let (_, redis, _) = place.stage().await;
    let store = SessionStore::new(redis).log_key([7; 32]);
    let (layer, events) = watched(SessionLayer::over(store.clone()));
    let browser = Browser::with_session(&layer).await;
    let stale = browser.copy();
    browser
        .visit(|session| async move { session.login("alice").unwrap() })
        .await;
    stale.get("seed").await;
    let forged = format!("__Host-id={}{}", &browser.token()[..22], "A".repeat(42));
    send(&layer, &[forged.as_bytes()], |session| async move {
        (StatusCode::OK, session.user().await.unwrap())
    })
    .await;
    browser
        .visit(|session| async move { session.rotate() })
        .await;
    let id = browser
        .visit(|session| async move {
            session.user().await.unwrap();
            session.id().unwrap()
        })
        .await
        .value;
    browser.copy().log_out().await;
    browser.get("seed").await;
    let other = Browser::logged_in(&layer, "bob").await;
    store.revoke_all("bob").await.unwrap();
    drop(guard);

    let text = log.text();
    let name = events.lock().unwrap()[0].1.clone();
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(&format!("sid_hash={name}")))
        .collect();
    for event in [
        "session begun",
        "login",
        "the token was replaced",
        "the session has another secret",
        "rotate",
        "logout",
        "no session for the token",
    ] {
        assert!(
            told.iter().any(|line| line.contains(event)),
            "{event}: {text}"
        );
    }
    assert!(text.contains("revoked"), "{text}");
    for secret in [&id, &browser.token(), &stale.token(), &other.token()] {
        assert!(!text.contains(&secret[..21]), "{text}");
        assert!(
            secret.len() < 64 || !text.contains(&secret[24..40]),
            "{text}"
        );
    }
}

/// The layer works without a route's help: as a plain tower layer, in any place.
#[tokio::test]
async fn a_request_without_cookie_is_described_to_nobody() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let layer = layer.client_from(|_| panic!("there is nothing to tell of"));
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    service.oneshot(Request::new(())).await.unwrap();
}
