//! What pages need besides values: CSRF tokens, a second cookie, events, and a cookie for tests.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{Router, routing::get};
use http::{Request, Response, StatusCode, header};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_fred::{
    Error, Session, SessionLayer,
    session::{Login, Marked, SessionStore, Suspicion},
};

use super::browser::{Browser, Place, send};
use crate::support::http::HttpServer;

#[tokio::test]
async fn d33_a_csrf_token_is_good_in_its_session_until_the_next_login() {
    check_d33_csrf(&Place::server()).await;
}

pub(super) async fn check_d33_csrf(place: &Place) {
    let (_, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis).renew_every(std::time::Duration::from_secs(3600));
    let layer = SessionLayer::over(store);
    let token_of = |browser: &Browser| {
        let browser = browser.copy();
        async move {
            let visit = browser
                .visit(|session| async move { session.csrf_token().await.expect("an answer") });
            visit.await.value
        }
    };
    async fn check(browser: &Browser, token: &str) -> Result<(), bool> {
        let token = token.to_owned();
        let visit = browser.visit(|session| async move { session.check_csrf(&token).await });
        let result = visit.await.value;
        result.map_err(|error| error.is_forbidden())
    }
    let (one, other) = (
        Browser::with_session(&layer).await,
        Browser::with_session(&layer).await,
    );
    let token = token_of(&one).await;
    assert_eq!(token.len(), 43);
    assert_ne!(token, token_of(&one).await, "it is masked anew");
    assert_eq!(check(&one, &token).await, Ok(()));
    assert_eq!(check(&other, &token).await, Err(true));
    assert_eq!(check(&Browser::new(&layer), &token).await, Err(true));
    for index in 0..43 {
        let mut bent = token.clone().into_bytes();
        bent[index] = if bent[index] == b'A' { b'B' } else { b'A' };
        let bent = String::from_utf8(bent).expect("an answer");
        assert_eq!(check(&one, &bent).await, Err(true), "{index}");
    }
    for bad in ["", "x", "ä", &"A".repeat(43), &"A".repeat(1000)] {
        assert_eq!(check(&one, bad).await, Err(true), "{bad}");
    }
    // Neither the cookie nor what is in Redis has it.
    assert!(!one.token().contains(&token[..20]));

    // A form that was open over a renewal still works; one from before a login does not.
    keys.set_field(&one.token(), "!n", "1").await;
    let before = one.token();
    assert_eq!(check(&one, &token).await, Ok(()));
    assert_ne!(one.token(), before);
    assert_eq!(check(&one, &token).await, Ok(()));
    let answer = one
        .visit(|session| async move {
            session.login("alice").expect("an answer");
            // The page that the login answers with.
            session.csrf_token().await.expect("an answer")
        })
        .await;
    assert_eq!(answer.set_cookies().len(), 1);
    assert_eq!(check(&one, &token).await, Err(true));
    assert_eq!(check(&one, &answer.value).await, Ok(()));
    one.visit(|session| async move { session.rotate() }).await;
    assert_eq!(check(&one, &answer.value).await, Err(true));
}

#[tokio::test]
async fn a_csrf_token_of_a_visitor_begins_a_session() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let browser = Browser::new(&layer);
    let answer = browser
        .visit(|session| async move {
            assert!(session.check_csrf("x").await.is_err());
            session.csrf_token().await.unwrap()
        })
        .await;
    assert_eq!(answer.set_cookies().len(), 1);
    let token = answer.value;
    let answer = browser.visit(|session| async move { session.check_csrf(&token).await });
    answer.await.value.unwrap();
}

struct Admin;

#[tokio::test]
async fn two_cookies_are_two_sessions_and_neither_opens_the_other() {
    let place = Place::server();
    let (visitors, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis);
    let admins = SessionLayer::marked::<Admin>(store.clone(), "admin");
    let service = ServiceBuilder::new()
        .layer(visitors.clone())
        .layer(admins.clone())
        .service(service_fn(|request: Request<()>| async move {
            let visitor = request.extensions().get::<Session>().unwrap();
            let admin = request.extensions().get::<Marked<Admin>>().unwrap();
            let users = (visitor.user().await.unwrap(), admin.user().await.unwrap());
            visitor.login("alice").unwrap();
            admin.login("root").unwrap();
            Ok::<_, Infallible>(Response::new(format!("{users:?}")))
        }));
    let response = service.clone().oneshot(Request::new(())).await.unwrap();
    let cookies: Vec<String> = response
        .headers()
        .get_all(header::SET_COOKIE)
        .iter()
        .map(|cookie| {
            cookie
                .to_str()
                .unwrap()
                .split(';')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(cookies.len(), 2);
    let value = |name: &str| {
        let mut found = cookies
            .iter()
            .filter_map(|cookie| cookie.strip_prefix(name));
        found.next().unwrap().to_owned()
    };
    let (visitor, admin) = (value("__Host-id="), value("__Host-admin="));
    let ask = |visitor: &str, admin: &str| {
        let cookie = format!("__Host-id={visitor}; __Host-admin={admin}");
        let request = Request::get("/").header(header::COOKIE, cookie);
        let service = service.clone();
        async move {
            use http_body_util::BodyExt;
            let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            String::from_utf8(body.to_vec()).unwrap()
        }
    };
    // Exchanged, they are nobody's.
    assert_eq!(ask(&admin, &visitor).await, "(None, None)");
    assert_eq!(
        ask(&visitor, &admin).await,
        r#"(Some("alice"), Some("root"))"#
    );
    // Their lists are apart, too.
    assert!(store.list("root").await.unwrap().is_empty());
    assert!(admins.store().list("alice").await.unwrap().is_empty());
    assert!(!admins.store().list("root").await.unwrap().is_empty());
    keys.assert_all_expire().await;
}

#[tokio::test]
async fn axum_handlers_take_the_marked_session_as_an_argument() {
    let place = Place::server();
    let (_, redis, _) = place.stage().await;
    async fn visits(session: Marked<Admin>) -> Result<String, Error> {
        Ok(session.incr("visits", 1).await?.to_string())
    }
    let layer = SessionLayer::marked::<Admin>(SessionStore::new(redis), "admin");
    let app = Router::new().route("/", get(visits));
    let without = HttpServer::axum(app.clone()).await.get("/", &[]).await;
    assert_eq!(without.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = std::str::from_utf8(without.body()).unwrap();
    assert!(body.contains("SessionLayer::marked"), "{body}");
    let app = HttpServer::axum(app.layer(layer)).await;
    assert_eq!(app.get("/", &[]).await.body(), "1");
}

/// From middleware between the layer and the handler, by the request's extensions.
#[tokio::test]
async fn middleware_uses_the_session_of_the_handler() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    async fn only_users(
        request: axum::extract::Request,
        next: axum::middleware::Next,
    ) -> Result<axum::response::Response, Error> {
        let session = request.extensions().get::<Session>().unwrap().clone();
        if session.user().await?.is_none() {
            return Ok(axum::response::IntoResponse::into_response(
                StatusCode::UNAUTHORIZED,
            ));
        }
        session.incr("seen", 1).await?;
        Ok(next.run(request).await)
    }
    async fn seen(session: Session) -> Result<String, Error> {
        Ok(format!("{:?}", session.get::<i64>("seen").await?))
    }
    let app = Router::new()
        .route("/", get(seen))
        .layer(axum::middleware::from_fn(only_users))
        .layer(layer.clone());
    let app = HttpServer::axum(app).await;
    assert_eq!(app.get("/", &[]).await.status(), StatusCode::UNAUTHORIZED);
    let cookie = layer.login_cookie("alice", &serde_json::json!({})).await;
    let cookie = cookie.unwrap();
    let fields = [("cookie", cookie.to_str().unwrap())];
    assert_eq!(app.get("/", &fields).await.body(), "Some(1)");
}

#[tokio::test]
async fn a_cookie_for_tests_is_that_of_a_browser_that_logged_in() {
    let place = Place::server();
    let (layer, redis, _) = place.stage().await;
    let login = Login::of("alice").label("a test");
    let fields = serde_json::json!({ "seed": 7 });
    let cookie = layer.login_cookie(login, &fields).await.unwrap();
    assert!(cookie.is_sensitive());
    let cookies = [cookie.as_bytes()];
    let answer = send(&layer, &cookies, |session| async move {
        let user = session.user().await.unwrap();
        (
            StatusCode::OK,
            (user, session.get::<i64>("seed").await.unwrap()),
        )
    });
    assert_eq!(answer.await.value, (Some("alice".to_owned()), Some(7)));
    let list = SessionStore::new(redis).list("alice").await.unwrap();
    assert_eq!(list[0].label(), "a test");
}

/// What the hook was told.
type Events = Arc<Mutex<Vec<(Suspicion, String, Option<String>)>>>;

fn watched(layer: SessionLayer) -> (SessionLayer, Events) {
    let events = Events::default();
    let told = Arc::clone(&events);
    let layer = layer
        .client_from(|parts| parts.uri.path().to_owned())
        .on_security_event(move |event| {
            let client = event.client().map(str::to_owned);
            let event = (event.suspicion(), event.session().to_owned(), client);
            told.lock().expect("an answer").push(event);
        });
    (layer, events)
}

#[tokio::test]
async fn d26_unknown_mismatching_and_stale_tokens_are_told_with_who_sent_them() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let (layer, events) = watched(layer);
    let browser = Browser::with_session(&layer).await;
    browser.get("seed").await;
    browser.set("seed", 2).await;
    let stale = browser.copy();
    browser
        .visit(|session| async move { session.login("alice").unwrap() })
        .await;
    assert!(events.lock().unwrap().is_empty(), "nothing was wrong");

    let token = browser.token();
    let forged = format!("{}{}", &token[..22], "A".repeat(42));
    let unknown = "A".repeat(64);
    for (value, suspicion) in [
        (stale.token(), Suspicion::Stale),
        (forged, Suspicion::Mismatch),
        (unknown, Suspicion::Unknown),
    ] {
        for write in [true, false] {
            let cookie = format!("__Host-id={value}");
            send(&layer, &[cookie.as_bytes()], move |session| async move {
                if write {
                    session.insert("a", &1).unwrap();
                } else {
                    session.user().await.unwrap();
                }
                (StatusCode::OK, ())
            })
            .await;
            let seen: Vec<_> = events.lock().unwrap().drain(..).collect();
            assert_eq!(seen.len(), 1, "{seen:?}");
            assert_eq!(seen[0].0, suspicion);
            assert_eq!(seen[0].2.as_deref(), Some("/"));
            assert!(!value.contains(&seen[0].1) && seen[0].1.len() == 16);
        }
    }
}

/// Collects what tracing writes.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("the log")).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged on this thread, which is where a test runs, as long as the guard is there.
pub(super) fn logged() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn d25_the_log_tells_of_a_session_s_life_under_a_keyed_hash() {
    let (log, guard) = logged();
    let place = Place::server();
    let (_, redis, _) = place.stage().await;
    let store = SessionStore::new(redis).log_key([7; 32]);
    let (layer, events) = watched(SessionLayer::over(store.clone()));
    let browser = Browser::with_session(&layer).await;
    let stale = browser.copy();
    browser
        .visit(|session| async move { session.login("alice").unwrap() })
        .await;
    stale.get("seed").await;
    let forged = format!("__Host-id={}{}", &browser.token()[..22], "A".repeat(42));
    send(&layer, &[forged.as_bytes()], |session| async move {
        (StatusCode::OK, session.user().await.unwrap())
    })
    .await;
    browser
        .visit(|session| async move { session.rotate() })
        .await;
    let id = browser
        .visit(|session| async move {
            session.user().await.unwrap();
            session.id().unwrap()
        })
        .await
        .value;
    browser.copy().log_out().await;
    browser.get("seed").await;
    let other = Browser::logged_in(&layer, "bob").await;
    store.revoke_all("bob").await.unwrap();
    drop(guard);

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let name = events.lock().unwrap()[0].1.clone();
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(&format!("sid_hash={name}")))
        .collect();
    for event in [
        "session begun",
        "login",
        "the token was replaced",
        "the session has another secret",
        "rotate",
        "logout",
        "no session for the token",
    ] {
        assert!(
            told.iter().any(|line| line.contains(event)),
            "{event}: {text}"
        );
    }
    assert!(text.contains("revoked"), "{text}");
    for secret in [&id, &browser.token(), &stale.token(), &other.token()] {
        assert!(!text.contains(&secret[..21]), "{text}");
        assert!(
            secret.len() < 64 || !text.contains(&secret[24..40]),
            "{text}"
        );
    }
}

/// The layer works without a route's help: as a plain tower layer, in any place.
#[tokio::test]
async fn a_request_without_cookie_is_described_to_nobody() {
    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let layer = layer.client_from(|_| panic!("there is nothing to tell of"));
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    service.oneshot(Request::new(())).await.unwrap();
}
