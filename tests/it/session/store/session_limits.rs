//! The number of sessions that a user may have.

use std::collections::HashSet;

use futures_util::future::join_all;
use http::StatusCode;
use tower_fred::{
    SessionLayer,
    session::{Login, SessionStore},
};

use super::devices::{id, ids, log_in_once};
use crate::session::browser::{Browser, Place, now};

#[tokio::test]
async fn d14_one_more_than_may_be_ends_the_oldest_or_is_refused() {
    check_d14_limits(&Place::server()).await;
}

pub(crate) async fn check_d14_limits(place: &Place) {
    let (_, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis);
    let layer = SessionLayer::over(store.clone().evict_above(3));
    let mut browsers = Vec::new();
    for _ in 0..3 {
        let browser = Browser::logged_in(&layer, "alice").await;
        // Their ends are in this order.
        let end = now() + 3_600_000 + i64::try_from(browsers.len()).expect("an answer");
        keys.set_field(&browser.token(), "!x", end.to_string())
            .await;
        log_in_once(&browser, Login::of("alice")).await;
        browsers.push(browser);
    }
    // The same device again is not one more.
    log_in_once(&browsers[0], Login::of("alice")).await;
    assert_eq!(store.list("alice").await.expect("an answer").len(), 3);
    browsers.push(Browser::logged_in(&layer, "alice").await);
    let expected = [None, Some("alice"), Some("alice"), Some("alice")];
    for (browser, user) in browsers.iter().zip(expected) {
        assert_eq!(browser.user().await.as_deref(), user);
    }
    // One that is over makes room before one that is not is ended.
    keys.live_for(&browsers[2].token(), 0).await;
    browsers.push(Browser::logged_in(&layer, "alice").await);
    assert_eq!(browsers[1].user().await.as_deref(), Some("alice"));
    assert_eq!(browsers[3].user().await.as_deref(), Some("alice"));

    let layer = SessionLayer::over(store.clone().refuse_above(3));
    let refused = Browser::with_session(&layer).await;
    let token = refused.token();
    let answer = log_in_once(&refused, Login::of("alice")).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    answer.assert_no_cookie();
    // It stays what it was.
    assert_eq!(refused.token(), token);
    assert_eq!(refused.get("seed").await, Some(1));
    assert_eq!(refused.user().await, None);
    let answer = refused
        .visit(|session| async move {
            session.login("alice").expect("an answer");
            session.commit().await.expect_err("an error").is_forbidden()
        })
        .await;
    // Said in time, it is for the handler to answer.
    assert_eq!((answer.status, answer.value), (StatusCode::OK, true));
    browsers[3].log_out().await;
    assert_eq!(
        log_in_once(&refused, Login::of("alice")).await.status,
        StatusCode::OK
    );
    keys.assert_all_expire().await;
}

#[tokio::test]
async fn d14_the_limit_holds_when_all_log_in_at_once() {
    check_d14_at_once(&Place::server()).await;
}

pub(crate) async fn check_d14_at_once(place: &Place) {
    for evicts in [true, false] {
        let (_, redis, _) = place.stage().await;
        let store = SessionStore::new(redis);
        let limited = match evicts {
            true => store.clone().evict_above(3),
            false => store.clone().refuse_above(3),
        };
        let layer = SessionLayer::over(limited);
        let browsers: Vec<Browser> = (0..20).map(|_| Browser::new(&layer)).collect();
        let logins = browsers
            .iter()
            .map(|browser| log_in_once(browser, Login::of("alice")));
        let answers = join_all(logins).await;
        let accepted = answers.iter().filter(|answer| answer.status == 200).count();
        let mut alive = HashSet::new();
        for browser in &browsers {
            if browser.cookie_header().is_some() && browser.user().await.is_some() {
                alive.insert(id(browser).await);
            }
        }
        assert!(alive.len() <= 3, "{} with eviction: {evicts}", alive.len());
        assert!(!alive.is_empty());
        // None is alive and not listed.
        assert_eq!(ids(&store.list("alice").await.expect("an answer")), alive);
        if !evicts {
            assert_eq!((accepted, alive.len()), (3, 3));
        }
    }
}
