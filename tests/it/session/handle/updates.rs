//! Additions and updates that depend on the value before: none is lost, in one process or in two, slow or cut off.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll};

use futures_util::future::join_all;
use http::StatusCode;
use tokio::sync::Barrier;
use tower_fred::{Redis, SessionLayer, session::SessionStore};

use crate::session::browser::{Browser, Place, send};
use crate::support::process;

const REQUESTS: i64 = 50;

/// Requests that have all read before any writes: each adds one, in both ways.
async fn add(layer: &SessionLayer, cookie: &str, requests: i64) {
    let together = Arc::new(Barrier::new(usize::try_from(requests).expect("a number")));
    let visits = (0..requests).map(|_| {
        let together = Arc::clone(&together);
        async move {
            let cookies = [cookie.as_bytes()];
            let visit = send(layer, &cookies, move |session| async move {
                session.get::<i64>("seed").await.expect("a read");
                together.wait().await;
                session.incr("added", 1).await.expect("an addition");
                session
                    .update("updated", |value: Option<i64>| value.unwrap_or(0) + 1)
                    .await
                    .expect("an update");
                (StatusCode::OK, ())
            });
            visit.await.assert_no_cookie();
        }
    });
    join_all(visits).await;
}

#[tokio::test]
async fn fifty_additions_and_updates_at_once_are_exact() {
    check_fifty_additions_and_updates(&Place::server()).await;
}

pub(crate) async fn check_fifty_additions_and_updates(place: &Place) {
    let (layer, ..) = place.stage().await;
    let browser = Browser::with_session(&layer).await;
    add(
        &layer,
        &browser.cookie_header().expect("an answer"),
        REQUESTS,
    )
    .await;
    assert_eq!(browser.get("added").await, Some(REQUESTS));
    assert_eq!(browser.get("updated").await, Some(REQUESTS));
}

/// The other process.
#[tokio::test]
async fn other_process() {
    let Some(input) = process::input() else {
        return;
    };
    let [url, namespace, cookie] = input.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{input}");
    };
    let redis = Redis::builder()
        .namespace(namespace)
        .deadline(std::time::Duration::from_secs(10))
        .connect(url)
        .await
        .unwrap();
    add(&SessionLayer::new(redis), cookie, REQUESTS / 2).await;
}

#[tokio::test]
async fn two_processes_at_once_lose_nothing() {
    let server = crate::support::Server::shared();
    let place = Place::Server(Arc::clone(&server));
    let (layer, redis, _) = place.stage().await;
    let browser = Browser::with_session(&layer).await;
    let cookie = browser.cookie_header().unwrap();
    let input = format!("{} {} {cookie}", server.url(), redis.namespace());
    let child = process::start("session::handle::updates::other_process", &input);
    let other = tokio::task::spawn_blocking(|| process::output(child, "nothing"));
    // Until the other process is there, to add at the same time.
    while browser.get("added").await.is_none() {}
    add(&layer, &cookie, REQUESTS / 2).await;
    other.await.unwrap();
    assert_eq!(browser.get("added").await, Some(REQUESTS));
    assert_eq!(browser.get("updated").await, Some(REQUESTS));
}

#[tokio::test]
async fn a_slow_handler_loses_nothing() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let browser = Browser::with_session(&layer).await;
    let (slow, quick) = (browser.copy(), browser.copy());
    slow.visit(move |session| async move {
        session.get::<i64>("seed").await.unwrap();
        // Others are faster, each time.
        for round in 0..3 {
            quick
                .visit(|session| async move {
                    session.incr("n", 1).await.unwrap();
                    session
                        .update("seed", |n: Option<i64>| n.unwrap() + 1)
                        .await
                        .unwrap();
                })
                .await;
            assert_eq!(session.incr("n", 10).await.unwrap(), 11 * (round + 1));
            let seed = session
                .update("seed", |n: Option<i64>| n.unwrap() + 10)
                .await;
            assert_eq!(seed.unwrap(), 1 + 11 * (round + 1));
        }
    })
    .await
    .assert_no_cookie();
    assert_eq!(browser.get("seed").await, Some(34));
    assert_eq!(browser.get("n").await, Some(33));
}

#[tokio::test]
async fn where_there_is_no_session_they_begin_one() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    for update in [true, false] {
        let browser = Browser::new(&layer);
        let answer = browser
            .visit(move |session| async move {
                if update {
                    session
                        .update("n", |n: Option<i64>| n.unwrap_or(5))
                        .await
                        .unwrap()
                } else {
                    session.incr("n", 5).await.unwrap()
                }
            })
            .await;
        assert_eq!(answer.value, 5);
        assert_eq!(answer.set_cookies().len(), 1);
        assert_eq!(browser.get("n").await, Some(5));
    }
}

#[tokio::test]
async fn they_are_seen_by_later_reads_and_see_what_was_buffered() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let browser = Browser::with_session(&layer).await;
    browser
        .visit(|session| async move {
            session.insert("n", &1).unwrap();
            assert_eq!(session.incr("n", 1).await.unwrap(), 2);
            assert_eq!(session.get::<i64>("n").await.unwrap(), Some(2));
            session.insert("n", &10).unwrap();
            let doubled = session.update("n", |n: Option<i64>| n.unwrap() * 2).await;
            assert_eq!(doubled.unwrap(), 20);
            assert_eq!(session.get::<i64>("n").await.unwrap(), Some(20));
            assert_eq!(session.incr("n", -1).await.unwrap(), 19);
            assert_eq!(session.get::<i64>("n").await.unwrap(), Some(19));
            session.remove("n");
            let begun = session
                .update("n", |n: Option<i64>| n.map_or(7, |n| n + 1))
                .await;
            assert_eq!(begun.unwrap(), 7);
        })
        .await;
    assert_eq!(browser.get("n").await, Some(7));
}

#[tokio::test]
async fn what_cannot_be_added_to_is_an_error_and_stays() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let browser = Browser::with_session(&layer).await;
    browser
        .visit(|session| async move {
            session.insert("text", "five").unwrap();
            session.insert("most", &i64::MAX).unwrap();
            session.insert("half", &0.5).unwrap();
            for key in ["text", "most", "half"] {
                assert!(session.incr(key, 1).await.unwrap_err().is_codec(), "{key}");
            }
            assert_eq!(
                session.get::<String>("text").await.unwrap().unwrap(),
                "five"
            );
            assert_eq!(session.get::<i64>("most").await.unwrap(), Some(i64::MAX));
            for key in ["", "!h", "~x"] {
                assert!(session.incr(key, 1).await.unwrap_err().is_codec(), "{key}");
                let update = session.update(key, |_: Option<i64>| 1).await;
                assert!(update.unwrap_err().is_codec(), "{key}");
            }
            // Of another type than was stored.
            let update = session.update("text", |_: Option<i64>| 1).await;
            assert!(update.unwrap_err().is_codec());
        })
        .await;
}

#[tokio::test]
async fn after_a_logout_elsewhere_they_are_refused() {
    let place = Place::server();
    let (layer, _, keys) = place.stage().await;
    for update in [true, false] {
        let browser = Browser::logged_in(&layer, "alice").await;
        let other = browser.copy();
        let answer = browser
            .visit(move |session| async move {
                session.user().await.unwrap();
                other.log_out().await;
                if update {
                    session.update("n", |_: Option<i64>| 1).await.unwrap_err()
                } else {
                    session.incr("n", 1).await.unwrap_err()
                }
            })
            .await;
        assert!(answer.value.is_interrupted());
        answer.assert_no_cookie();
        assert!(keys.all().await.is_empty());
    }
}

/// Polls `future` at most `polls` times, then drops it.
async fn cut_off(future: impl Future, polls: usize) {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |cx| {
        if left == 0 || future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        left -= 1;
        if left == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// At every await point: each is counted once or not at all, the session stays, and goes on to work.
#[tokio::test]
async fn d34_an_update_login_or_list_that_is_dropped_anywhere_leaves_a_session_that_works() {
    check_d34_dropped_operations(&Place::server()).await;
    check_d34_dropped_logins(&Place::server()).await;
}

pub(crate) async fn check_d34_dropped_operations(place: &Place) {
    let (layer, ..) = place.stage().await;
    for polls in 1..14 {
        let browser = Browser::with_session(&layer).await;
        let answer = browser
            .visit(move |session| async move {
                cut_off(session.incr("n", 1), polls).await;
                cut_off(
                    session.update("m", |m: Option<i64>| m.unwrap_or(0) + 1),
                    polls,
                )
                .await;
                let n = session.incr("n", 10).await.expect("an answer");
                let m = session
                    .update("m", |m: Option<i64>| m.unwrap_or(0) + 10)
                    .await;
                (n, m.expect("an answer"))
            })
            .await;
        let (n, m) = answer.value;
        assert!([10, 11].contains(&n) && [10, 11].contains(&m), "{n} {m}");
        assert_eq!(browser.get("n").await, Some(n), "after {polls} polls");
        assert_eq!(browser.get("m").await, Some(m), "after {polls} polls");
    }
}

pub(crate) async fn check_d34_dropped_logins(place: &Place) {
    let (layer, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis);
    for polls in 1..14 {
        let browser = Browser::with_session(&layer).await;
        // A login that is cut off in the handler is carried out by the response.
        let answer = browser
            .visit(move |session| async move {
                session.login("alice").expect("an answer");
                cut_off(session.commit(), polls).await;
            })
            .await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(browser.user().await.as_deref(), Some("alice"), "{polls}");
        let own = |list: Vec<tower_fred::session::Device>, id: &str| {
            list.iter().any(|device| id.starts_with(&device.id()[..21]))
        };
        // Never alive and not listed.
        assert!(own(
            store.list("alice").await.expect("an answer"),
            &browser.token()
        ));
        cut_off(store.revoke_all("alice"), polls).await;
        let alive = browser.user().await.is_some();
        let listed = own(
            store.list("alice").await.expect("an answer"),
            &browser.token(),
        );
        assert!(listed || !alive, "after {polls} polls");
        store.revoke_all("alice").await.expect("an answer");
        assert_eq!(browser.user().await, None);
        keys.assert_all_expire().await;
        // As a login right after a revocation is refused, the next round has another user's list in the way.
        while browser
            .visit(|session| async move { session.login("alice").expect("an answer") })
            .await
            .status
            != StatusCode::OK
        {}
        store
            .revoke(
                "alice",
                &browser
                    .visit(|session| async move {
                        session.user().await.expect("an answer");
                        session.id().expect("an answer")
                    })
                    .await
                    .value,
            )
            .await
            .expect("an answer");
    }
}

#[tokio::test]
async fn a_request_that_logs_in_and_is_dropped_anywhere_is_listed_or_not_logged_in() {
    let place = Place::server();
    let (layer, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis);
    for polls in 1..25 {
        for known in [true, false] {
            let browser = if known {
                Browser::with_session(&layer).await
            } else {
                Browser::new(&layer)
            };
            let visit = browser.visit(|session| async move { session.login("alice").unwrap() });
            cut_off(visit, polls).await;
        }
        // Until what was sent has been run.
        let listed = store.list("alice").await.unwrap().len();
        let mut logged_in = 0;
        for key in keys.sessions().await {
            use tower_fred::fred::interfaces::HashesInterface;
            let user: Option<String> = keys.admin.hget(key, "!u").await.unwrap();
            logged_in += usize::from(user.is_some());
        }
        assert_eq!(listed, logged_in, "after {polls} polls");
        keys.assert_all_expire().await;
    }
}
