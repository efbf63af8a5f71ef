//! Answers that come just before the deadline: a load waits for one deadline in all.

use std::time::{Duration, Instant};

use http::StatusCode;
use tower_fred::SessionLayer;

use crate::{
    session::browser::{Browser, Keys, now, send},
    support::{
        Server,
        proxy::{Mode, Proxy},
        server::handle_with,
    },
};

const DEADLINE: Duration = Duration::from_millis(500);
const DELAY: Duration = Duration::from_millis(400);
/// A busy machine needs some time too.
const MOST: Duration = Duration::from_millis(700);

/// The record, the index of its user, and each further cookie of the same name waited for a deadline of their own.
#[tokio::test]
async fn a_load_waits_for_one_deadline() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let redis = handle_with(&proxy.url(), |builder| builder.deadline(DEADLINE)).await;
    let keys = Keys::of(&server, &redis).await;
    let layer = SessionLayer::new(redis);
    let alice = Browser::logged_in(&layer, "alice").await;
    let other = Browser::with_session(&layer).await;
    let gone = other.cookie_header().expect("a cookie");
    other.log_out().await;
    // As if the index of the user had been checked long ago.
    let age = async || {
        let long_ago = (now() - 120_000).to_string();
        keys.set_field(&alice.token(), "!e", long_ago).await;
    };
    age().await;
    // The server has the scripts then.
    assert_eq!(alice.user().await.as_deref(), Some("alice"));

    age().await;
    proxy.set(Mode::Delay(DELAY));
    let began = Instant::now();
    assert_eq!(alice.user().await.as_deref(), Some("alice"));
    assert!(began.elapsed() < MOST, "the index: {:?}", began.elapsed());

    let header = format!("{gone}; {}", alice.cookie_header().expect("a cookie"));
    let load = async || {
        let began = Instant::now();
        let cookies = [header.as_bytes()];
        let answer = send(&layer, &cookies, |session| async move {
            (StatusCode::OK, session.user().await)
        });
        let user = answer.await.value;
        (user, began.elapsed())
    };
    let (user, took) = load().await;
    assert!(user.is_err_and(|error| error.is_timeout()));
    assert!(took < MOST, "the second cookie: {took:?}");
    proxy.set(Mode::Relay);
    tokio::time::sleep(DELAY).await;
    assert_eq!(load().await.0.expect("a user").as_deref(), Some("alice"));
}
