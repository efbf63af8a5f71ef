//! A second session cookie, the extractors, and a cookie for tests.

use std::convert::Infallible;

use axum::{Router, routing::get};
use http::{Request, Response, StatusCode, header};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_fred::{
    Error, Session, SessionLayer,
    session::{Login, Marked, SessionStore},
};

use crate::session::browser::{Place, send};
use crate::support::http::HttpServer;

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
