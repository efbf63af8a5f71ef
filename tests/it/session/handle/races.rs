//! Requests that overlap a login, a logout or a rotation.

use crate::session::{
    browser::{Browser, Place, stage},
    gate::Gate,
};
use crate::support::Server;

#[tokio::test]
async fn d07_a_slow_writer_does_not_undo_a_logout() {
    check_d07_a_slow_writer_does_not_undo_a_logout(&Place::server()).await;
}

pub(crate) async fn check_d07_a_slow_writer_does_not_undo_a_logout(place: &Place) {
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

pub(crate) async fn check_d06_a_slow_writer_does_not_undo_a_login(place: &Place) {
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

pub(crate) async fn check_d22_a_read_with_the_cookie_from_before_the_login_is_anonymous_and_harmless(
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
