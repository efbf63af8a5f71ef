//! The place that a login reserves in the list of its user.

use std::{pin::pin, time::Duration};

use http::StatusCode;
use tower_fred::{Redis, SessionLayer, session::SessionStore};

use super::eviction::list_key;
use crate::session::{
    browser::{Browser, Place, now},
    failures::cut_off,
};
use crate::support::{patiently, server::namespace, topology::run};

async fn log_in(browser: &Browser) -> StatusCode {
    let visit = browser.visit(|session| async move { session.login("alice").expect("an answer") });
    visit.await.status
}

/// A login that had its place and no user yet was taken for dead, and another had its place.
#[tokio::test]
async fn a_login_that_is_under_way_keeps_its_place() {
    let place = Place::server();
    let mut held = 0;
    for polls in 1..16 {
        for known in [false, true] {
            let (_, redis, keys) = place.stage().await;
            let layer = SessionLayer::over(SessionStore::new(redis).refuse_above(1));
            let browser = match known {
                true => Browser::with_session(&layer).await,
                false => Browser::new(&layer),
            };
            let login =
                browser.visit(|session| async move { session.login("alice").expect("an answer") });
            let mut login = pin!(login);
            if cut_off(login.as_mut(), polls).await || list_key(&keys).await.is_none() {
                continue;
            }
            held += 1;
            assert_eq!(log_in(&Browser::new(&layer)).await, StatusCode::FORBIDDEN);
            assert_eq!(login.await.status, StatusCode::OK);
        }
    }
    assert!(held > 0, "no login was met between its steps");
}

/// The place was kept for as long as the session could be idle: the user was locked out for half an hour.
#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn a_login_that_was_cut_off_gives_its_place_back() {
    let place = Place::server();
    let Place::Server(server) = &place else {
        unreachable!("a server");
    };
    let builder = Redis::builder()
        .namespace(namespace())
        .deadline(Duration::from_millis(500));
    let redis = builder.connect(&server.url()).await.expect("an answer");
    let keys = place.keys(&redis).await;
    let store = SessionStore::new(redis).refuse_above(1);
    let layer = SessionLayer::over(store.clone());
    let mut held = 0;
    for polls in 1..30 {
        for known in [false, true] {
            let browser = match known {
                true => Browser::with_session(&layer).await,
                false => Browser::new(&layer),
            };
            let visit =
                browser.visit(|session| async move { session.login("alice").expect("an answer") });
            if cut_off(visit, polls).await {
                // A login that was done is no place to give back.
                browser.log_out().await;
            }
        }
        if list_key(&keys).await.is_none() {
            continue;
        }
        held += 1;
        if held > 3 {
            break;
        }
        // Nobody has the session, so it takes no place for long: 4 deadlines and a second.
        let user = Browser::new(&layer);
        let again = async {
            while log_in(&user).await != StatusCode::OK {
                // Between two polls.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let bound = Duration::from_secs(12);
        tokio::time::timeout(bound, again).await.expect("a place");
        // A login that was confirmed keeps its place for longer than that.
        let list = list_key(&keys).await.expect("an answer");
        let id = store.list("alice").await.expect("an answer")[0]
            .id()
            .to_owned();
        patiently("a place that is confirmed", async {
            let hours = (now() + 11 * 3_600_000) as f64;
            while run::<f64>(&keys.admin, "ZSCORE", &[&list, &id])
                .await
                .expect("an answer")
                < hours
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(log_in(&Browser::new(&layer)).await, StatusCode::FORBIDDEN);
        user.log_out().await;
    }
    assert!(held > 0, "no login was cut off between its steps");
    // Nor does a session that another user took over, and that is still listed.
    let first = Browser::new(&layer);
    assert_eq!(log_in(&first).await, StatusCode::OK);
    let list = list_key(&keys).await.expect("an answer");
    let id = store.list("alice").await.expect("an answer")[0]
        .id()
        .to_owned();
    first
        .visit(|session| async move { session.login("bob").expect("an answer") })
        .await;
    let end = (now() + 3_600_000).to_string();
    run::<i64>(&keys.admin, "ZADD", &[&list, &end, &id])
        .await
        .expect("an answer");
    run::<i64>(&keys.admin, "PEXPIRE", &[&list, "3600000"])
        .await
        .expect("an answer");
    assert_eq!(log_in(&Browser::new(&layer)).await, StatusCode::OK);
    assert_eq!(first.user().await.as_deref(), Some("bob"));
}
