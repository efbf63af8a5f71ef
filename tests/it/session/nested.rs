//! Layers around layers: a module's router with a session layer of its own, inside of the application's.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::Request, routing::get};
use http::header;
use tower_fred::{
    Error, Redis, Session, SessionLayer,
    session::{Marked, SessionStore},
};

use super::{browser::Place, log::logged};
use crate::support::http::HttpServer;

struct Admin;
struct Clerk;

/// What the outer router adds to the session, around the module.
async fn count(
    session: Session,
    request: Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    session.insert("seen", &1).expect("a value");
    next.run(request).await
}

async fn login(session: Session) -> Result<&'static str, Error> {
    session.login("alice")?;
    Ok("welcome")
}

async fn user(session: Session) -> Result<String, Error> {
    let seen: Option<i64> = session.get("seen").await?;
    Ok(format!("{:?} {seen:?}", session.user().await?))
}

fn module() -> Router {
    Router::new()
        .route("/login", get(login))
        .route("/user", get(user))
}

/// The module with its layer, inside of the application's layer and of what uses that one's session.
fn application(module: Router, inner: SessionLayer, outer: SessionLayer) -> Router {
    Router::new()
        .nest("/module", module.layer(inner))
        .layer(axum::middleware::from_fn(count))
        .layer(outer)
}

/// The cookies of a login, each `name=value`, and who is logged in with them afterwards.
async fn log_in(app: Router) -> (Vec<String>, String) {
    let app = HttpServer::axum(app).await;
    let response = app.get("/module/login", &[]).await;
    assert_eq!(response.body(), "welcome");
    let cookies = response.headers().get_all(header::SET_COOKIE).iter();
    let cookies: Vec<String> = cookies
        .map(|cookie| {
            let pair = cookie.to_str().expect("text").split(';').next();
            pair.expect("a pair").to_owned()
        })
        .collect();
    let sent = cookies.join("; ");
    let response = app.get("/module/user", &[("cookie", &sent)]).await;
    let user = String::from_utf8(response.body().to_vec()).expect("text");
    (cookies, user)
}

/// Both layers made a session and set a cookie of one name: the browser kept one of them, and the login was lost.
#[tokio::test]
async fn an_inner_layer_goes_on_with_the_session_of_the_outer_one() {
    let place = Place::server();
    let (log, _guard) = logged();
    for same in ["one layer", "layers made alike", "another handle"] {
        let (layer, redis, keys) = place.stage().await;
        let inner = match same {
            "one layer" => layer.clone(),
            "layers made alike" => SessionLayer::over(SessionStore::new(redis)),
            _ => SessionLayer::new(again(&place, &redis).await),
        };
        let (cookies, user) = log_in(application(module(), inner, layer)).await;
        assert_eq!(cookies.len(), 1, "{same}: {cookies:?}");
        assert_eq!(user, "Some(\"alice\") Some(1)", "{same}");
        assert_eq!(keys.sessions().await.len(), 1, "{same}");
    }
    assert!(!log.text().contains("ERROR"), "{}", log.text());
}

/// The same namespace on the same server, by another handle.
async fn again(place: &Place, redis: &Redis) -> Redis {
    let Place::Server(server) = place else {
        panic!("a server");
    };
    let builder = Redis::builder().namespace(redis.namespace());
    builder.connect(&server.url()).await.expect("a handle")
}

/// By type they are two, by cookie one: whichever is outside, and with a layer of another cookie in between.
#[tokio::test]
async fn marked_layers_of_one_cookie_are_one_session_whatever_their_markers() {
    async fn login(session: Marked<Clerk>) -> Result<&'static str, Error> {
        session.login("alice")?;
        Ok("welcome")
    }
    async fn user(admin: Marked<Admin>, clerk: Marked<Clerk>) -> Result<String, Error> {
        Ok(format!(
            "{:?} {:?}",
            admin.user().await?,
            clerk.user().await?
        ))
    }
    let place = Place::server();
    for between in [false, true] {
        let (plain, redis, keys) = place.stage().await;
        let store = SessionStore::new(redis);
        let inner = SessionLayer::marked::<Clerk>(store.clone(), "staff");
        let outer = SessionLayer::marked::<Admin>(store.clone(), "staff");
        let module = Router::new()
            .route("/login", get(login))
            .route("/user", get(user));
        let mut app = Router::new().nest("/module", module.layer(inner));
        if between {
            app = app.layer(plain);
        }
        let (cookies, user) = log_in(app.layer(outer)).await;
        assert_eq!(cookies.len(), 1, "{cookies:?}");
        assert_eq!(user, "Some(\"alice\") Some(\"alice\")");
        assert_eq!(keys.sessions().await.len(), 1);
    }
}

/// An unmarked layer and a marked one that took its cookie and realm, in both orders.
#[tokio::test]
async fn a_marked_layer_and_one_without_a_marker_may_share_a_cookie() {
    async fn login(admin: Marked<Admin>) -> Result<&'static str, Error> {
        admin.login("alice")?;
        Ok("welcome")
    }
    async fn user(session: Session, admin: Marked<Admin>) -> Result<String, Error> {
        Ok(format!(
            "{:?} {:?}",
            session.user().await?,
            admin.user().await?
        ))
    }
    let place = Place::server();
    for marked_outside in [false, true] {
        let (_, redis, keys) = place.stage().await;
        let store = SessionStore::new(redis);
        let marked = SessionLayer::marked::<Admin>(store.clone(), "staff");
        let plain = SessionLayer::over(store.realm("staff")).cookie_name("staff");
        let (inner, outer) = match marked_outside {
            true => (plain, marked),
            false => (marked, plain),
        };
        let module = Router::new()
            .route("/login", get(login))
            .route("/user", get(user));
        let app = Router::new()
            .nest("/module", module.layer(inner))
            .layer(outer);
        let (cookies, user) = log_in(app).await;
        assert_eq!(cookies.len(), 1, "{cookies:?}");
        assert_eq!(user, "Some(\"alice\") Some(\"alice\")");
        assert_eq!(keys.sessions().await.len(), 1);
    }
}

/// Two cookies are two sessions, whatever else is the same, in both orders.
#[tokio::test]
async fn layers_with_cookies_of_their_own_stay_apart() {
    let place = Place::server();
    let (log, _guard) = logged();
    for swapped in [false, true] {
        let (layer, redis, keys) = place.stage().await;
        let named = SessionLayer::new(redis).cookie_name("module");
        let (inner, outer) = match swapped {
            true => (layer, named),
            false => (named, layer),
        };
        // The middleware outside uses the outer session, the module its own.
        let (cookies, user) = log_in(application(module(), inner, outer)).await;
        assert_eq!(cookies.len(), 2, "{cookies:?}");
        assert_eq!(user, "Some(\"alice\") None");
        assert_eq!(keys.sessions().await.len(), 2);
    }
    assert!(!log.text().contains("ERROR"), "{}", log.text());
}

/// One cookie cannot be two sessions: that is an error in the log, and once, since each request meets it.
#[tokio::test]
async fn one_cookie_for_two_realms_is_an_error_in_the_log() {
    let place = Place::server();
    let (log, _guard) = logged();
    let (layer, redis, _) = place.stage().await;
    let other = SessionLayer::over(SessionStore::new(redis).realm("other"));
    let app = HttpServer::axum(application(module(), other, layer)).await;
    for _ in 0..5 {
        // Whoever is logged in to one of them is not to be somebody in the other.
        let user = app.get("/module/user", &[]).await;
        assert_eq!(user.body(), "None None");
    }
    let text = log.text();
    assert_eq!(
        text.matches("have the same cookie name and different sessions")
            .count(),
        1,
        "{text}"
    );
}

/// The sessions are the same, so the login is not lost; which settings count is said.
#[tokio::test]
async fn one_cookie_with_other_settings_goes_on_and_is_an_error_in_the_log() {
    let place = Place::server();
    let (layer, redis, _) = place.stage().await;
    let minute = Duration::from_secs(60);
    let new = || SessionLayer::new(redis.clone());
    let others: [(&str, SessionLayer); 7] = [
        ("idle", new().idle_timeout(minute)),
        ("absolute", new().absolute_timeout(minute)),
        (
            "a limit",
            SessionLayer::over(SessionStore::new(redis.clone()).evict_above(3)),
        ),
        (
            "a pepper",
            SessionLayer::over(SessionStore::new(redis.clone()).pepper([7; 32])),
        ),
        (
            "a seal",
            SessionLayer::over(SessionStore::new(redis.clone()).seal(&[7; 32])),
        ),
        ("failure", new().anonymous_on_failure()),
        ("commits", new().commit_when(|_| true)),
    ];
    for (what, other) in others {
        let (log, _guard) = logged();
        let app = application(module(), other, layer.clone());
        let (cookies, user) = log_in(app).await;
        assert_eq!(cookies.len(), 1, "{what}: {cookies:?}");
        assert_eq!(user, "Some(\"alice\") Some(1)", "{what}");
        assert_eq!(
            log.text()
                .matches("have the same cookie name and different settings")
                .count(),
            1,
            "{what}"
        );
        // The next line is logged a second later at the earliest: only time can pass it.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
}

/// A request that a handler makes within the process carries extensions of one whose response has left.
#[tokio::test]
async fn a_session_whose_response_has_left_is_not_gone_on_with() {
    use http::Response;
    use tower::{Layer, ServiceExt, service_fn};

    let place = Place::server();
    let (layer, ..) = place.stage().await;
    let kept: Arc<std::sync::Mutex<Option<http::Extensions>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let service = layer.layer(service_fn(move |request: http::Request<()>| {
        let session = request.extensions().get::<Session>().expect("a session");
        session.insert("a", &1).expect("a value");
        *keep.lock().expect("a place") = Some(request.extensions().clone());
        async { Ok::<_, std::convert::Infallible>(Response::new(String::new())) }
    }));
    for _ in 0..2 {
        let mut request = http::Request::new(());
        if let Some(extensions) = kept.lock().expect("a place").take() {
            *request.extensions_mut() = extensions;
        }
        let response = service.clone().oneshot(request).await.expect("a response");
        assert!(response.headers().contains_key(header::SET_COOKIE));
    }
}

#[tokio::test]
#[should_panic(expected = "the cookie of the layer without a marker")]
async fn a_marked_layer_cannot_take_the_cookie_of_the_others() {
    let place = Place::server();
    let (_, redis, _) = place.stage().await;
    let _ = SessionLayer::marked::<Admin>(SessionStore::new(redis), "id");
}
