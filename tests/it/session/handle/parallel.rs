//! Requests that write at the same time, in one process and in several.

use std::sync::Arc;

use tokio::sync::Barrier;
use tower_fred::{SessionLayer, session::SessionStore};

use crate::session::{
    browser::{Browser, Place, stage},
    gate::Gate,
};
use crate::support::{Server, process};

#[tokio::test]
async fn two_requests_that_write_different_keys_keep_both() {
    let server = Server::shared();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    let gate = Gate::new();
    let handler_gate = gate.clone();
    let (slow, quick) = tokio::join!(
        browser.visit(move |session| async move {
            session.get::<i64>("seed").await.unwrap();
            session.insert("slow", &1).unwrap();
            session.remove("seed");
            handler_gate.pass().await;
        }),
        gate.meanwhile(browser.set("quick", 2)),
    );
    slow.assert_no_cookie();
    quick.assert_no_cookie();
    assert_eq!(browser.get("slow").await, Some(1));
    assert_eq!(browser.get("quick").await, Some(2));
    assert_eq!(browser.get("seed").await, None);
}

#[tokio::test]
async fn fifty_requests_at_once_lose_nothing() {
    check_fifty_requests_at_once_lose_nothing(&Place::server()).await;
}

pub(crate) async fn check_fifty_requests_at_once_lose_nothing(place: &Place) {
    const REQUESTS: usize = 50;
    let (layer, ..) = place.stage().await;
    let browser = Browser::with_session(&layer).await;
    let together = Arc::new(Barrier::new(REQUESTS));
    let visits = (0..REQUESTS).map(|request| {
        let together = Arc::clone(&together);
        browser.visit(move |session| async move {
            // Every request has read before any writes.
            session.get::<i64>("seed").await.expect("an answer");
            session
                .insert(&format!("k{request}"), &request)
                .expect("an answer");
            together.wait().await;
        })
    });
    for answer in futures_util::future::join_all(visits).await {
        assert_eq!(answer.status, 200);
        answer.assert_no_cookie();
    }
    let found = browser.visit(|session| async move {
        let mut found = Vec::new();
        for request in 0..REQUESTS {
            found.extend(
                session
                    .get::<usize>(&format!("k{request}"))
                    .await
                    .expect("an answer"),
            );
        }
        found
    });
    assert_eq!(found.await.value, (0..REQUESTS).collect::<Vec<_>>());
}

/// The other process: it reads the session, says so, waits, and writes.
#[tokio::test]
async fn other_process() {
    let Some(input) = process::input() else {
        return;
    };
    let [url, namespace, token] = input.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{input}");
    };
    let redis = tower_fred::Redis::builder()
        .namespace(namespace)
        .connect(url)
        .await
        .unwrap();
    let record = SessionStore::new(redis.clone()).load(token).await.unwrap();
    let user = record.and_then(|record| record.user().map(str::to_owned));
    println!("user={user:?}");
    let cookie = format!("__Host-id={token}");
    let layer = SessionLayer::new(redis);
    let answer =
        crate::session::browser::send(&layer, &[cookie.as_bytes()], |session| async move {
            session.get::<i64>("seed").await.unwrap();
            session.insert("other", &1).unwrap();
            (http::StatusCode::OK, ())
        })
        .await;
    println!("user=cookies {}", answer.set_cookies().len());
}

#[tokio::test]
async fn d04_d07_login_and_logout_count_in_every_process() {
    let server = Server::shared();
    let (layer, redis, keys) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    let elsewhere = |token: String| {
        let input = format!("{} {} {token}", server.url(), redis.namespace());
        async move {
            let child = process::start("session::handle::parallel::other_process", &input);
            tokio::task::spawn_blocking(|| process::output(child, "user="))
                .await
                .unwrap()
        }
    };
    let before = browser.token();
    browser
        .visit(|session| async move { session.login("alice").unwrap() })
        .await;
    // The old cookie is nobody's, its write is refused.
    assert_eq!(elsewhere(before).await, ["None", "cookies 0"]);
    let token = browser.token();
    assert_eq!(
        elsewhere(token.clone()).await,
        [r#"Some("alice")"#, "cookies 0"]
    );
    assert_eq!(browser.get("other").await, Some(1));
    browser.log_out().await;
    // Nobody's again; a write begins a session of its own.
    assert_eq!(elsewhere(token.clone()).await, ["None", "cookies 1"]);
    assert!(!keys.exists(&token).await);
}
