//! Redis gone, hung, or holding what is not ours; and requests that are dropped halfway.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use http::{StatusCode, header};
use tower_fred::{
    Error,
    fred::interfaces::{ClientLike, HashesInterface, KeysInterface},
};

use super::browser::{Answer, Browser, Place, stage};
use crate::support::Server;

/// A fence against hanging for ever, far above every deadline.
async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work)
        .await
        .expect("an answer")
}

fn assert_unavailable<T>(answer: &Answer<T>) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.all(header::RETRY_AFTER), ["1"]);
    assert_eq!(answer.all(header::CACHE_CONTROL), ["no-store"]);
    assert_ne!(answer.body, "handled");
    answer.assert_no_cookie();
}

#[tokio::test]
async fn d29_a_hung_redis_is_an_error_to_reads_a_503_to_writes_and_ends_no_session() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let token = browser.token();
    server.stop();

    let read = bounded(browser.visit(|session| async move {
        let value: Result<Option<i64>, Error> = session.get("seed").await;
        (value.unwrap_err(), session.user().await.unwrap_err())
    }))
    .await;
    assert!(read.value.0.is_unavailable() && read.value.1.is_unavailable());
    assert_eq!(read.status, StatusCode::OK);
    read.assert_no_cookie();

    assert_unavailable(&bounded(browser.set("a", 1)).await);
    let first_write = bounded(Browser::new(&layer).set("a", 1)).await;
    assert_unavailable(&first_write);
    let untouched = browser.visit(|_| async {}).await;
    assert_eq!(untouched.status, StatusCode::OK);
    let committed = bounded(browser.visit(|session| async move {
        session.insert("b", &1).unwrap();
        session.commit().await.unwrap_err()
    }))
    .await;
    assert!(committed.value.is_unavailable());
    assert_unavailable(&committed);

    server.resume();
    assert_eq!(browser.token(), token);
    assert_eq!(recovered(&browser).await.as_deref(), Some("alice"));
    assert_eq!(browser.get("seed").await, Some(1));
}

#[tokio::test]
async fn a_login_or_logout_that_could_not_be_written_changes_no_cookie() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    server.kill();
    assert_unavailable(&bounded(browser.log_out()).await);
    let login =
        bounded(browser.visit(|session| async move { session.login("bob").unwrap() })).await;
    assert_unavailable(&login);
}

/// Asks until Redis is back: fred connects again by itself.
async fn recovered(browser: &Browser) -> Option<String> {
    bounded(async {
        loop {
            let answer = browser
                .visit(|session| async move { session.user().await })
                .await;
            answer.assert_no_cookie();
            match answer.value {
                Ok(user) => return user,
                Err(error) => assert!(error.is_unavailable(), "{error}"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn after_a_loss_of_data_the_browser_is_anonymous_and_keeps_its_cookie() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let token = browser.token();
    server.kill();
    server.restart();
    assert_eq!(recovered(&browser).await, None);
    assert_eq!(browser.token(), token);
    // The scripts are gone from the server, too.
    assert_eq!(browser.set("a", 1).await.set_cookies().len(), 1);
    assert_ne!(browser.token()[..21], token[..21]);
    assert_eq!(browser.get("a").await, Some(1));
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let server = Server::start();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let flush = || async {
        let command =
            tower_fred::fred::types::CustomCommand::new_static("SCRIPT", None::<u16>, false);
        keys.admin
            .custom::<(), _>(command, vec!["FLUSH"])
            .await
            .unwrap();
    };
    flush().await;
    browser.set("a", 1).await;
    assert_eq!(browser.get("a").await, Some(1));
    flush().await;
    browser.log_out().await.assert_removes_cookie();
}

#[tokio::test]
async fn anonymous_on_failure_reads_nothing_and_drops_writes_but_no_logout() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let layer = layer.anonymous_on_failure();
    let browser = Browser::logged_in(&layer, "alice").await;
    let token = browser.token();
    server.stop();
    for read in [true, false] {
        let answer = bounded(browser.visit(move |session| async move {
            if read {
                assert_eq!(session.user().await.unwrap(), None);
                assert_eq!(session.get::<i64>("seed").await.unwrap(), None);
            }
            session.insert("a", &1).unwrap();
        }))
        .await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body, "handled");
        answer.assert_no_cookie();
    }
    let answer = bounded(browser.visit(|session| async move {
        session.get::<i64>("seed").await.unwrap();
        session.insert("a", &1).unwrap();
        session.commit().await.unwrap_err().is_unavailable()
    }))
    .await;
    assert!(answer.value, "asked for directly, a lost write is an error");
    for read in [true, false] {
        let logout = bounded(browser.visit(move |session| async move {
            if read {
                assert_eq!(session.user().await.unwrap(), None);
            }
            session.logout();
        }));
        assert_unavailable(&logout.await);
    }
    assert_eq!(browser.token(), token);
}

/// Back between the read and the write: what was decided on an empty session is not written over the real one.
#[tokio::test]
async fn anonymous_on_failure_writes_nothing_over_a_session_that_was_not_read() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let layer = layer.anonymous_on_failure();
    let browser = Browser::logged_in(&layer, "alice").await;
    let other = browser.copy();
    server.stop();
    let answer = bounded(browser.visit(move |session| async move {
        let seed: Option<i64> = session.get("seed").await.unwrap();
        session.insert("seed", &(seed.unwrap_or(100) + 1)).unwrap();
        server.resume();
        while other.user().await.is_none() {}
        server
    }))
    .await;
    answer.assert_no_cookie();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(browser.get("seed").await, Some(1));
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_record_that_is_not_ours_is_a_corrupt_error_and_stays_as_it_is() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    for garbage in ["string", "hash", "hash of another shape"] {
        let browser = Browser::with_session(&layer).await;
        let key = keys.key(&browser.token());
        keys.admin.del::<(), _>(key.as_str()).await.unwrap();
        match garbage {
            "string" => {
                let set = keys.admin.set::<(), _, _>(&key, "x", None, None, false);
                set.await.unwrap();
            }
            "hash" => keys.set_field(&browser.token(), "a", "1").await,
            _ => {
                keys.set_field(&browser.token(), "!h", "short").await;
                keys.set_field(&browser.token(), "!x", "soon").await;
            }
        }
        let dump: bytes::Bytes = keys.admin.dump(key.as_str()).await.unwrap();
        let read = browser
            .visit(|session| async move { session.get::<i64>("seed").await.unwrap_err() })
            .await;
        assert!(read.value.is_corrupt(), "{garbage}: {}", read.value);
        read.assert_no_cookie();
        let write = browser.set("a", 2).await;
        assert_eq!(write.status, StatusCode::INTERNAL_SERVER_ERROR, "{garbage}");
        write.assert_no_cookie();
        let after: bytes::Bytes = keys.admin.dump(key.as_str()).await.unwrap();
        assert_eq!(dump, after, "{garbage}");
    }
}

#[tokio::test]
async fn d30_a_field_that_does_not_decode_is_an_error_of_that_field_only() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    keys.set_field(&browser.token(), "bad", "{").await;
    let answer = browser
        .visit(|session| async move {
            let bad = session.get::<i64>("bad").await.unwrap_err();
            assert_eq!(session.get::<i64>("seed").await.unwrap(), Some(1));
            assert_eq!(session.user().await.unwrap().as_deref(), Some("alice"));
            // Another type than was stored is the same error.
            assert!(session.get::<String>("seed").await.unwrap_err().is_codec());
            session.insert("seed", &2).unwrap();
            bad
        })
        .await;
    assert!(answer.value.is_codec());
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(browser.get("seed").await, Some(2));
    let field = keys.field(&browser.token(), "bad").await;
    assert_eq!(field.as_deref(), Some("{".as_bytes()));
}

/// Polls `future` at most `polls` times, then drops it: whether it was done by then.
pub(super) async fn cut_off<T>(future: impl Future<Output = T>, polls: usize) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test]
async fn d34_a_request_that_is_dropped_anywhere_leaves_the_old_state_or_the_new() {
    check_d34_a_request_that_is_dropped_anywhere_leaves_the_old_state_or_the_new(&Place::server())
        .await;
}

pub(super) async fn check_d34_a_request_that_is_dropped_anywhere_leaves_the_old_state_or_the_new(
    place: &Place,
) {
    let (layer, _, keys) = place.stage().await;
    let mut done = 0;
    for polls in 1..60 {
        let browser = Browser::with_session(&layer).await;
        let key = keys.key(&browser.token());
        let work = browser.visit(|session| async move {
            session.get::<i64>("seed").await.expect("an answer");
            session.insert("seed", &2).expect("an answer");
            session.insert("a", &2).expect("an answer");
            session.login("alice").expect("an answer");
            session.commit().await.expect("an answer");
            session.insert("seed", &3).expect("an answer");
            session.insert("a", &3).expect("an answer");
        });
        done += usize::from(cut_off(work, polls).await);
        // A command that was sent already may still run, before this one or after it: both states are whole.
        let fields: Vec<Option<String>> = keys
            .admin
            .hmget(key.as_str(), vec!["seed", "a", "!u"])
            .await
            .expect("an answer");
        let fields: Vec<&str> = fields
            .iter()
            .map(|field| field.as_deref().unwrap_or("-"))
            .collect();
        assert!(
            [["1", "-", "-"], ["2", "2", "alice"], ["3", "3", "alice"]]
                .contains(&[fields[0], fields[1], fields[2]]),
            "{fields:?} after {polls} polls"
        );
        let left: i64 = keys.admin.pttl(key.as_str()).await.expect("an answer");
        assert!(left > 0);
    }
    assert!((1..59).contains(&done), "{done}: all or none were cut off");
}

#[tokio::test]
async fn a_commit_that_is_dropped_can_be_repeated() {
    let server = Server::shared();
    let (layer, ..) = stage(&server).await;
    for polls in 1..10 {
        let browser = Browser::with_session(&layer).await;
        browser
            .visit(move |session| async move {
                session.insert("a", &1).unwrap();
                cut_off(session.commit(), polls).await;
                session.commit().await.unwrap();
            })
            .await;
        assert_eq!(browser.get("a").await, Some(1), "after {polls} polls");
    }
}
