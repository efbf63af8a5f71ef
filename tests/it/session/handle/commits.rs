//! What is written when the session ends, or is logged out, in the same request.

use std::time::Duration;

use tower_fred::{SessionLayer, fred::interfaces::KeysInterface, session::SessionStore};

use crate::session::browser::{Browser, Keys, stage};
use crate::support::{Server, server::namespace};

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
            .namespace(namespace())
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
