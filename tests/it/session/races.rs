//! Requests that overlap. A handler stops at a gate inside, so that the order is that of the test.

use std::{sync::Arc, time::Duration};

use tokio::sync::Barrier;
use tower_fred::{SessionLayer, fred::interfaces::KeysInterface, session::SessionStore};

use super::browser::{Browser, Keys, Place, stage};
use crate::support::{Server, process};

/// Two meetings with a handler: when it has begun, and when it may go on.
#[derive(Clone)]
struct Gate {
    begun: Arc<Barrier>,
    go_on: Arc<Barrier>,
}

impl Gate {
    fn new() -> Self {
        Self {
            begun: Arc::new(Barrier::new(2)),
            go_on: Arc::new(Barrier::new(2)),
        }
    }

    async fn pass(self) {
        self.begun.wait().await;
        self.go_on.wait().await;
    }

    /// Lets `work` happen while the handler stands between the meetings.
    async fn meanwhile<T>(self, work: impl Future<Output = T>) -> T {
        self.begun.wait().await;
        let value = work.await;
        self.go_on.wait().await;
        value
    }
}

#[tokio::test]
async fn d07_a_slow_writer_does_not_undo_a_logout() {
    check_d07_a_slow_writer_does_not_undo_a_logout(&Place::server()).await;
}

pub(super) async fn check_d07_a_slow_writer_does_not_undo_a_logout(place: &Place) {
    for read in [true, false] {
        let (layer, _, keys) = place.stage().await;
        let browser = Browser::logged_in(&layer, "alice").await;
        let (token, thief) = (browser.token(), browser.copy());
        let gate = Gate::new();
        let handler_gate = gate.clone();
        let (slow, logout) = tokio::join!(
            browser.visit(move |session| async move {
                if read {
                    session.get::<i64>("seed").await.expect("an answer");
                }
                session.insert("late", &1).expect("an answer");
                handler_gate.pass().await;
            }),
            gate.meanwhile(browser.log_out()),
        );
        logout.assert_removes_cookie();
        assert_eq!(slow.status, 200);
        assert!(!keys.exists(&token).await);
        assert_eq!(thief.user().await, None);
        if read {
            slow.assert_no_cookie();
            assert!(keys.all().await.is_empty(), "{:?}", keys.all().await);
        } else {
            // It read nothing of the session that ended: its write begins another, nobody's.
            assert_eq!(slow.set_cookies().len(), 1);
            assert_ne!(browser.token(), token);
            assert_eq!(browser.user().await, None);
            assert_eq!(browser.get("late").await, Some(1));
            assert_eq!(browser.get("seed").await, None);
        }
    }
}

#[tokio::test]
async fn a_commit_after_the_logout_is_an_interrupted_error() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let token = browser.token();
    let other = browser.copy();
    let answer = browser
        .visit(move |session| async move {
            assert_eq!(session.get::<i64>("seed").await.unwrap(), Some(1));
            other.log_out().await;
            session.insert("late", &1).unwrap();
            let first = session.commit().await.unwrap_err();
            // Dropped with the error; a further write is refused as well.
            session.commit().await.unwrap();
            session.insert("later", &1).unwrap();
            let second = session.commit().await.unwrap_err();
            assert_eq!(session.get::<i64>("seed").await.unwrap(), None);
            (first.is_interrupted(), second.is_interrupted())
        })
        .await;
    assert_eq!(answer.value, (true, true));
    answer.assert_no_cookie();
    assert!(!keys.exists(&token).await);
}

/// The first race of login: the late response would put the dead cookie back.
#[tokio::test]
async fn d06_a_slow_writer_does_not_undo_a_login() {
    check_d06_a_slow_writer_does_not_undo_a_login(&Place::server()).await;
}

pub(super) async fn check_d06_a_slow_writer_does_not_undo_a_login(place: &Place) {
    for read in [true, false] {
        let (layer, _, keys) = place.stage().await;
        let browser = Browser::with_session(&layer).await;
        let gate = Gate::new();
        let handler_gate = gate.clone();
        let (slow, login) = tokio::join!(
            browser.visit(move |session| async move {
                if read {
                    session.get::<i64>("seed").await.expect("an answer");
                }
                session.insert("late", &1).expect("an answer");
                handler_gate.pass().await;
            }),
            gate.meanwhile(
                browser.visit(|session| async move { session.login("alice").expect("an answer") })
            ),
        );
        assert_eq!(login.set_cookies().len(), 1);
        slow.assert_no_cookie();
        assert_eq!(slow.status, 200);
        assert_eq!(browser.user().await.as_deref(), Some("alice"));
        assert_eq!(browser.get("seed").await, Some(1));
        assert_eq!(keys.field(&browser.token(), "late").await, None);
        assert_eq!(keys.sessions().await.len(), 1);
    }
}

/// The second race of login: the late response would remove the new cookie.
#[tokio::test]
async fn d22_a_read_with_the_cookie_from_before_the_login_is_anonymous_and_harmless() {
    check_d22_a_read_with_the_cookie_from_before_the_login_is_anonymous_and_harmless(
        &Place::server(),
    )
    .await;
}

pub(super) async fn check_d22_a_read_with_the_cookie_from_before_the_login_is_anonymous_and_harmless(
    place: &Place,
) {
    let (layer, _, keys) = place.stage().await;
    let browser = Browser::with_session(&layer).await;
    let gate = Gate::new();
    let handler_gate = gate.clone();
    let (slow, _) = tokio::join!(
        browser.visit(move |session| async move {
            handler_gate.pass().await;
            assert_eq!(session.get::<i64>("seed").await.expect("an answer"), None);
            assert_eq!(session.user().await.expect("an answer"), None);
            session.insert("late", &1).expect("an answer");
            session
                .commit()
                .await
                .expect_err("an error")
                .is_interrupted()
        }),
        gate.meanwhile(
            browser.visit(|session| async move { session.login("alice").expect("an answer") })
        ),
    );
    assert!(slow.value);
    slow.assert_no_cookie();
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
    assert_eq!(keys.sessions().await.len(), 1);
}

#[tokio::test]
async fn a_logout_with_the_cookie_from_before_the_login_ends_nothing() {
    let server = Server::shared();
    let (layer, ..) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    let old = browser.copy();
    browser
        .visit(|session| async move { session.login("alice").unwrap() })
        .await;
    let late = old
        .visit(|session| async move {
            session.logout();
            session.insert("flash", "bye").unwrap();
        })
        .await;
    late.assert_no_cookie();
    assert_eq!(browser.user().await.as_deref(), Some("alice"));
}

/// Two clicks on the login button: the first response is lost, and the second click must not leave the user outside.
#[tokio::test]
async fn a_login_with_the_cookie_from_before_another_login_begins_a_session() {
    let server = Server::shared();
    let (layer, ..) = stage(&server).await;
    for read in [true, false] {
        let first = Browser::with_session(&layer).await;
        let second = first.copy();
        first
            .visit(|session| async move { session.login("alice").unwrap() })
            .await;
        let answer = second
            .visit(move |session| async move {
                if read {
                    session.get::<i64>("seed").await.unwrap();
                }
                session.login("alice").unwrap();
            })
            .await;
        assert_eq!(answer.set_cookies().len(), 1);
        assert_ne!(second.token()[..21], first.token()[..21]);
        assert_eq!(second.user().await.as_deref(), Some("alice"));
        assert_eq!(second.get("seed").await, None);
    }
}

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

pub(super) async fn check_fifty_requests_at_once_lose_nothing(place: &Place) {
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

#[tokio::test]
async fn a_write_after_a_logout_in_the_same_request_begins_another_session() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let old = browser.token();
    let answer = browser
        .visit(|session| async move {
            session.insert("before", &1).unwrap();
            session.logout();
            assert_eq!(session.user().await.unwrap(), None);
            assert_eq!(session.get::<i64>("seed").await.unwrap(), None);
            session.insert("flash", &1).unwrap();
        })
        .await;
    assert_eq!(answer.set_cookies().len(), 1);
    assert!(!keys.exists(&old).await);
    assert_ne!(browser.token()[..21], old[..21]);
    assert_eq!(browser.get("flash").await, Some(1));
    assert_eq!(browser.get("before").await, None);
    assert_eq!(browser.get("seed").await, None);
    assert_eq!(browser.user().await, None);
}

#[tokio::test]
async fn a_login_after_a_logout_in_the_same_request_takes_nothing_along() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let old = browser.token();
    browser
        .visit(|session| async move {
            session.logout();
            session.login("bob").unwrap();
        })
        .await;
    assert!(!keys.exists(&old).await);
    assert_eq!(browser.user().await.as_deref(), Some("bob"));
    assert_eq!(browser.get("seed").await, None);
}

#[tokio::test]
async fn a_blind_write_to_an_expired_session_is_not_lost() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    let token = browser.token();
    keys.live_for(&token, 0).await;
    let answer = browser.set("a", 1).await;
    assert_eq!(answer.set_cookies().len(), 1);
    assert_ne!(browser.token()[..21], token[..21]);
    assert_eq!(browser.get("a").await, Some(1));
    assert!(!keys.exists(&token).await);
}

#[tokio::test]
async fn a_blind_removal_or_rotation_of_an_expired_session_makes_none() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    keys.live_for(&browser.token(), 0).await;
    let answer = browser
        .visit(|session| async move {
            session.remove("seed");
            session.rotate();
        })
        .await;
    answer.assert_no_cookie();
    assert!(keys.all().await.is_empty());
}

#[tokio::test]
async fn a_logout_while_the_changes_are_on_their_way_counts() {
    for login in [false, true] {
        let server = Server::start();
        let redis = tower_fred::Redis::builder()
            .deadline(Duration::from_secs(20))
            .connect(&server.url())
            .await
            .unwrap();
        let keys = Keys::of(&server, &redis).await;
        let browser = Browser::with_session(&SessionLayer::new(redis)).await;
        let (give, take) = tokio::sync::oneshot::channel();
        server.stop();
        let (answer, ()) = tokio::join!(
            browser.visit(move |session| async move {
                session.insert("seed", &2).unwrap();
                if login {
                    session.login("alice").unwrap();
                }
                give.send(session).unwrap();
            }),
            async {
                let session = take.await.unwrap();
                // The response has begun to wait for Redis by then.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                session.logout();
                server.resume();
            },
        );
        answer.assert_removes_cookie();
        assert!(keys.all().await.is_empty(), "login: {login}");
    }
}

#[tokio::test]
async fn a_session_known_by_a_write_is_not_made_again_when_it_ends() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    for read in [true, false] {
        let browser = Browser::with_session(&layer).await;
        let other = browser.copy();
        let answer = browser
            .visit(move |session| async move {
                session.insert("a", &1).unwrap();
                session.commit().await.unwrap();
                other.log_out().await;
                if read {
                    assert_eq!(session.get::<i64>("a").await.unwrap(), None);
                }
                session.insert("a", &2).unwrap();
            })
            .await;
        answer.assert_no_cookie();
        assert!(keys.all().await.is_empty());
    }
}

#[tokio::test]
async fn a_token_from_a_commit_is_not_sent_when_it_was_replaced_meanwhile() {
    let server = Server::shared();
    let (layer, redis, keys) = stage(&server).await;
    let browser = Browser::with_session(&layer).await;
    let store = SessionStore::new(redis);
    for read in [true, false] {
        let (token, store, key) = (browser.token(), store.clone(), keys.key(&browser.token()));
        let admin = keys.admin.clone();
        let answer = browser
            .visit(move |session| async move {
                session.rotate();
                session.commit().await.unwrap();
                assert!(!store.destroy(&token).await.unwrap());
                // Ended from elsewhere, as an administrator does.
                admin.del::<(), _>(key).await.unwrap();
                if read {
                    assert_eq!(session.get::<i64>("seed").await.unwrap(), None);
                }
                session.insert("a", &1).unwrap();
            })
            .await;
        answer.assert_no_cookie();
        assert!(keys.all().await.is_empty());
        browser.set("seed", 1).await;
    }
}

/// A WebSocket's clone lives on after the response: values can be written, the cookie cannot.
#[tokio::test]
async fn a_clone_that_outlives_the_response_writes_values_but_changes_no_cookie() {
    let server = Server::shared();
    let (layer, _, keys) = stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let session = browser
        .visit(|session| async move {
            session.user().await.unwrap();
            session
        })
        .await
        .value;

    session.insert("socket", &1).unwrap();
    session.commit().await.unwrap();
    assert_eq!(browser.get("socket").await, Some(1));

    assert!(session.login("bob").unwrap_err().is_too_late());
    session.insert("kept", &1).unwrap();
    session.rotate();
    assert!(session.commit().await.unwrap_err().is_too_late());
    session.commit().await.unwrap();
    assert_eq!(browser.get("kept").await, Some(1));
    assert_eq!(browser.user().await.as_deref(), Some("alice"));

    session.logout();
    session.commit().await.unwrap();
    assert!(!keys.exists(&browser.token()).await);
    session.insert("a", &1).unwrap();
    assert!(session.commit().await.unwrap_err().is_too_late());
    assert!(keys.all().await.is_empty());
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
    let answer = super::browser::send(&layer, &[cookie.as_bytes()], |session| async move {
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
            let child = process::start("session::races::other_process", &input);
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

/// What is on its way with the token from before a rotation is refused, and does not undo it.
#[tokio::test]
async fn a_slow_writer_does_not_undo_a_rotation() {
    let place = Place::server();
    let (layer, _, keys) = place.stage().await;
    for read in [true, false] {
        let browser = Browser::logged_in(&layer, "alice").await;
        let gate = Gate::new();
        let handler_gate = gate.clone();
        let (slow, rotation) = tokio::join!(
            browser.visit(move |session| async move {
                if read {
                    session.get::<i64>("seed").await.unwrap();
                }
                session.insert("late", &1).unwrap();
                handler_gate.pass().await;
            }),
            gate.meanwhile(browser.visit(|session| async move { session.rotate() })),
        );
        assert_eq!(rotation.set_cookies().len(), 1);
        slow.assert_no_cookie();
        assert_eq!(browser.user().await.as_deref(), Some("alice"));
        assert_eq!(keys.field(&browser.token(), "late").await, None);
    }
}
