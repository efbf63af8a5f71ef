//! What a response makes of the session: which ones write, which say that they depend on the cookie, what is logged.

use std::time::Duration;

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use tower_fred::{Error, Session, SessionLayer, session::SessionStore};

use crate::session::{
    browser::{Browser, Place, send},
    log::logged,
};
use crate::support::http::HttpServer;

/// A login that is to be followed by a question for the second factor, for which the handler waits in vain.
async fn half(session: Session) -> Result<&'static str, Error> {
    session.insert("half", &1)?;
    session.login("alice")?;
    std::future::pending::<()>().await;
    session.remove("half");
    Ok("done")
}

/// As a timeout layer inside of the session layer: it drops the handler and answers by itself.
fn timed_out(status: u16, layer: SessionLayer) -> Router {
    let status = StatusCode::from_u16(status).expect("a status");
    Router::new()
        .route("/", get(half))
        .layer(from_fn(move |request: Request, next: Next| async move {
            let soon = Duration::from_millis(50);
            let response = tokio::time::timeout(soon, next.run(request)).await;
            let response: Response = response.unwrap_or_else(|_| status.into_response());
            response
        }))
        .layer(layer)
}

/// With 408, half of what the handler meant to change was written, and the browser was logged in without the second factor.
#[tokio::test]
async fn what_a_handler_had_changed_before_it_timed_out_is_dropped() {
    let place = Place::server();
    for status in [408, 500, 503, 504, 599] {
        let (layer, _, keys) = place.stage().await;
        let cookie = layer.login_cookie("bob", &serde_json::json!({})).await;
        let cookie = cookie.expect("a cookie");
        let cookie = cookie.to_str().expect("text");
        let app = HttpServer::axum(timed_out(status, layer.clone())).await;
        for fields in [&[][..], &[("cookie", cookie)]] {
            let response = app.get("/", fields).await;
            assert_eq!(response.status(), status);
            assert!(
                !response.headers().contains_key(header::SET_COOKIE),
                "{status}"
            );
        }
        assert_eq!(keys.sessions().await.len(), 1, "{status}");
        let (user, half) = send(&layer, &[cookie.as_bytes()], |session| async move {
            let user = session.user().await.expect("a user");
            (
                StatusCode::OK,
                (user, session.get::<i64>("half").await.expect("a value")),
            )
        })
        .await
        .value;
        assert_eq!((user.as_deref(), half), (Some("bob"), None), "{status}");
    }
}

/// A dropped handler that is answered for by another status needs a predicate; a handler's own answers are its own.
#[tokio::test]
async fn the_predicate_decides_which_responses_commit() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let strict = layer
        .clone()
        .commit_when(|response| response.status.is_success());
    for (layer, status, kept) in [
        (&layer, 200, true),
        (&layer, 303, true),
        (&layer, 400, true),
        (&layer, 401, true),
        (&layer, 429, true),
        (&layer, 408, false),
        (&layer, 500, false),
        (&strict, 200, true),
        (&strict, 429, false),
        (&strict, 408, false),
        (&strict, 500, false),
    ] {
        let browser = Browser::with_session(layer).await;
        let code = StatusCode::from_u16(status).expect("a status");
        browser
            .visit_as(code, |session| async move {
                session.insert("a", &1).expect("an answer");
            })
            .await;
        assert_eq!(browser.get("a").await.is_some(), kept, "{status}");
        // A logout is carried out in any case.
        let answer = browser.visit_as(code, |session| async move { session.logout() });
        answer.await.assert_removes_cookie();
    }
}

/// A read found out that the session was over, and forgot the token: the logout had nothing to remove.
#[tokio::test]
async fn a_logout_removes_the_cookie_of_a_session_that_a_read_found_over() {
    let place = Place::server();
    for how in ["expired", "revoked", "past its end"] {
        for read in ["user", "get", "is_alive", "incr", "commit", "nothing"] {
            let (layer, redis, keys) = place.stage().await;
            let store = SessionStore::new(redis);
            let browser = Browser::logged_in(&layer, "alice").await;
            match how {
                "revoked" => {
                    let _ = store.revoke_all("alice").await.expect("an answer");
                }
                "expired" => keys.live_for(&browser.token(), 1).await,
                _ => keys.set_field(&browser.token(), "!x", "1").await,
            }
            while how == "expired" && keys.exists(&browser.token()).await {}
            let answer = browser.visit(move |session| async move {
                match read {
                    "user" => assert_eq!(session.user().await.expect("an answer"), None),
                    "get" => assert_eq!(session.get::<i64>("seed").await.expect("an answer"), None),
                    "is_alive" => assert!(!session.is_alive().await.expect("an answer")),
                    "incr" => {
                        let _ = session.incr("n", 1).await.expect("an answer");
                    }
                    "commit" => {
                        session.remove("seed");
                        session.commit().await.expect("an answer");
                    }
                    _ => {}
                }
                session.logout();
            });
            let answer = answer.await;
            let cookies = answer.set_cookies();
            assert_eq!(cookies.len(), 1, "{how} {read}: {cookies:?}");
            assert!(
                cookies[0].contains("Max-Age=0"),
                "{how} {read}: {cookies:?}"
            );
            assert_eq!(keys.sessions().await.len(), 0, "{how} {read}");
        }
    }
}

/// A session that ends while the request runs, after it was read.
#[tokio::test]
async fn a_logout_removes_the_cookie_of_a_session_that_ended_meanwhile_but_no_newer_one() {
    let place = Place::server();
    let (layer, redis, _) = place.stage().await;
    let store = SessionStore::new(redis);
    let browser = Browser::logged_in(&layer, "alice").await;
    let revoked = browser.visit(move |session| async move {
        assert!(session.user().await.expect("an answer").is_some());
        store.revoke_all("alice").await.expect("an answer");
        session.insert("a", &1).expect("an answer");
        assert!(session.commit().await.unwrap_err().is_interrupted());
        session.logout();
    });
    revoked.await.assert_removes_cookie();

    // The token was replaced: the browser has a newer cookie by now.
    let browser = Browser::logged_in(&layer, "alice").await;
    let stale = browser.copy();
    browser
        .visit(|session| async move { session.login("alice").expect("an answer") })
        .await;
    let answer = stale.visit(|session| async move {
        assert_eq!(session.user().await.expect("an answer"), None);
        session.logout();
    });
    answer.await.assert_no_cookie();
    let late = browser.copy();
    let answer = late.visit(move |session| async move {
        assert!(session.user().await.expect("an answer").is_some());
        browser
            .visit(|session| async move { session.rotate() })
            .await;
        session.insert("a", &1).expect("an answer");
        assert!(session.commit().await.unwrap_err().is_interrupted());
        session.logout();
        assert_eq!(browser.user().await.as_deref(), Some("alice"));
    });
    answer.await.assert_no_cookie();
}

/// One way to learn something of the session.
async fn read_by(way: &str, session: Session) {
    match way {
        "get" => {
            let _ = session.get::<i64>("a").await.expect("an answer");
        }
        "user" => {
            let _ = session.user().await.expect("an answer");
        }
        "auth_at" => {
            let _ = session.auth_at().await.expect("an answer");
        }
        "recent" => {
            let _ = session.require_recent_auth(Duration::ZERO).await;
        }
        "alive" => {
            let _ = session.is_alive().await.expect("an answer");
        }
        "incr" => {
            let _ = session.incr("a", 1).await.expect("an answer");
        }
        "update" => {
            let _ = session
                .update("a", |_: Option<i64>| 1)
                .await
                .expect("an answer");
        }
        "commit" => {
            session.insert("a", &1).expect("an answer");
            session.commit().await.expect("an answer");
        }
        "flashes" => {
            let _ = session.take_flashes::<String>().await.expect("an answer");
        }
        "devices" => {
            let _ = session.devices().await.expect("an answer");
        }
        "csrf" => {
            let _ = session.csrf_token().await.expect("an answer");
        }
        "check" => {
            let token = "A".repeat(43);
            assert!(session.check_csrf(&token).await.is_err());
        }
        "revoke" => {
            let _ = session.revoke("A").await.expect("an answer");
        }
        _ => {
            let _ = session.revoke_others().await.expect("an answer");
        }
    }
}

/// What a handler learns of the session, its answer may depend on. An addition said nothing.
#[tokio::test]
async fn every_way_to_read_says_that_the_answer_depends_on_the_cookie() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    for cookie in [true, false] {
        for way in [
            "get", "user", "auth_at", "recent", "alive", "incr", "update", "commit", "flashes",
            "devices", "csrf", "check", "revoke", "others",
        ] {
            let browser = match cookie {
                true => Browser::with_session(&layer).await,
                false => Browser::new(&layer),
            };
            let answer = browser.visit(move |session| read_by(way, session));
            assert_eq!(answer.await.all(header::VARY), ["Cookie"], "{way} {cookie}");
        }
    }
    // What only writes does not.
    let browser = Browser::with_session(&layer).await;
    let answer = browser.visit(|session| async move {
        session.insert("a", &1).expect("an answer");
        session.rotate();
        session.flash("hello").expect("an answer");
        session.login("alice").expect("an answer");
    });
    assert!(answer.await.all(header::VARY).is_empty());
}

/// The lines of warnings and errors.
fn lines(log: &crate::session::log::Log) -> Vec<String> {
    let text = log.text();
    let loud = |line: &&str| line.contains("ERROR") || line.contains("WARN");
    text.lines().filter(loud).map(str::to_owned).collect()
}

/// Clients could write lines into the log as fast as they could send requests.
#[tokio::test]
async fn clients_cause_one_line_a_second_at_most() {
    let place = Place::server();
    let (_, redis, _) = place.stage().await;
    let store = SessionStore::new(redis).most_fields(2).most_bytes(1000);
    let layer = SessionLayer::over(store);

    // A session that is full, and one whose token was replaced while a request ran.
    let (log, guard) = logged();
    let browser = Browser::with_session(&layer).await;
    for _ in 0..20 {
        let answer = browser.visit(|session| async move {
            for key in ["a", "b", "c"] {
                session.insert(key, &1).expect("an answer");
            }
        });
        assert_eq!(answer.await.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
    let found = lines(&log);
    assert_eq!(found.len(), 1, "{found:#?}");
    drop(guard);

    let (log, _guard) = logged();
    for _ in 0..20 {
        let other = browser.copy();
        let answer = browser.visit(move |session| async move {
            session.user().await.expect("an answer");
            other.visit(|session| async move { session.rotate() }).await;
            session.insert("seed", &2).expect("an answer");
            other
        });
        let other = answer.await.value;
        let cookie = other.cookie_header().expect("an answer");
        let sent = [cookie.as_bytes()];
        send(&layer, &sent, |session| async move {
            (StatusCode::OK, session.logout())
        })
        .await;
        let fresh = Browser::with_session(&layer).await;
        browser.adopt(&fresh);
    }
    let found = lines(&log);
    assert_eq!(found.len(), 1, "{found:#?}");
}

/// Handlers that answer the error, and routes without the layer.
#[tokio::test]
async fn clients_of_failing_handlers_cause_one_line_a_second_at_most() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let (log, _guard) = logged();
    async fn large(session: Session) -> Result<(), Error> {
        session.insert("k", &"x".repeat(100_000))
    }
    let inside = Router::new().route("/", get(large)).layer(layer);
    let outside = Router::new().route("/", get(large));
    for router in [inside, outside] {
        let app = HttpServer::axum(router).await;
        for _ in 0..20 {
            let response = app.get("/", &[]).await;
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
    }
    let found = lines(&log);
    assert_eq!(found.len(), 2, "{found:#?}");
}
