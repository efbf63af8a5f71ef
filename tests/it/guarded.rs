//! Pages behind a login in a cache: who reads the session where, and what may be stored then.

// Rate limits beside the cache.
mod limits;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::{StatusCode, header};
use tower_fred::{CacheLayer, Redis, Session, SessionLayer};

use crate::{
    cache::patient,
    support::{Server, http::HttpServer},
};

/// What the guard lets through.
#[derive(Clone)]
struct Role(String);

/// Refuses who has no role in the session, and hands on the role of the others.
async fn guard(mut request: Request, next: Next) -> Result<Response, StatusCode> {
    let session = session(&request);
    let role: Option<String> = session.get("role").await.expect("a read");
    let role = role.ok_or(StatusCode::UNAUTHORIZED)?;
    request.extensions_mut().insert(Role(role));
    Ok(next.run(request).await)
}

/// Reads the session for something else, outside of everything.
async fn greet(request: Request, next: Next) -> Response {
    let _: Option<String> = session(&request).get("locale").await.expect("a read");
    next.run(request).await
}

fn session(request: &Request) -> Session {
    request.extensions().get().cloned().expect("a session")
}

/// Logs in as the role that the path names.
async fn login(request: Request) -> StatusCode {
    let role = request.uri().path().rsplit('/').next().expect("a role");
    let session = session(&request);
    session.login(role).expect("a login");
    session.insert("role", role).expect("a value");
    StatusCode::NO_CONTENT
}

fn by_role(redis: &Redis) -> CacheLayer {
    let cache = CacheLayer::new(redis.clone()).behind_guard();
    cache.vary_by_value(|parts| {
        let role = parts.extensions.get::<Role>();
        role.map(|role| role.0.clone()).unwrap_or_default()
    })
}

struct Site {
    http: HttpServer,
    redis: Redis,
}

impl Site {
    /// `pages` under a session layer, beside a login that nothing guards.
    async fn new(redis: &Redis, pages: Router) -> Self {
        let router = Router::new()
            .route("/login/{role}", get(login))
            .merge(pages)
            .layer(SessionLayer::new(redis.clone()));
        Self {
            http: HttpServer::axum(router).await,
            redis: redis.clone(),
        }
    }

    async fn cookie(&self, role: &str) -> String {
        let answer = self.http.get(&format!("/login/{role}"), &[]).await;
        let cookie = answer.headers()[header::SET_COOKIE].to_str().expect("text");
        cookie.split(';').next().expect("a pair").to_owned()
    }

    /// Waits until what is to be stored is stored.
    async fn get(&self, path: &str, cookie: &str) -> http::Response<Bytes> {
        let answer = match cookie {
            "" => self.http.get(path, &[]).await,
            cookie => self.http.get(path, &[("cookie", cookie)]).await,
        };
        for _ in 0..8 {
            self.redis.ping().await.expect("a reply");
        }
        answer
    }
}

/// The last line, which is the outermost cache's.
fn status(answer: &http::Response<Bytes>) -> &str {
    let mut lines = answer.headers().get_all("cache-status").iter();
    lines
        .next_back()
        .map_or("", |line| line.to_str().expect("text"))
}

/// A handler whose answers are numbered.
fn numbered(made: &Arc<AtomicUsize>) -> axum::routing::MethodRouter {
    let made = Arc::clone(made);
    get(async move |request: Request| {
        let number = made.fetch_add(1, Ordering::SeqCst);
        let role = request.extensions().get::<Role>();
        let role = role.map_or("nobody", |role| &role.0);
        (
            [(header::CACHE_CONTROL, "max-age=60")],
            format!("{role} {number}"),
        )
            .into_response()
    })
}

/// One read by the guard once kept every page behind it out of the cache.
#[tokio::test]
async fn a_page_behind_a_guard_is_shared_by_those_with_the_same_role() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let made = Arc::default();
    let pages = Router::new()
        .route("/page", numbered(&made))
        .layer(by_role(&redis))
        .layer(from_fn(guard));
    let site = Site::new(&redis, pages).await;
    let (ann, bob, cy) = (
        site.cookie("admin").await,
        site.cookie("admin").await,
        site.cookie("clerk").await,
    );
    let first = site.get("/page", &ann).await;
    assert_eq!(first.body(), "admin 0");
    assert_eq!(status(&first), "tower-fred; fwd=uri-miss; stored");
    for (cookie, body) in [(&bob, "admin 0"), (&cy, "clerk 1"), (&cy, "clerk 1")] {
        let answer = site.get("/page", cookie).await;
        assert_eq!(answer.body(), body);
        // For caches further out it depends on the session, also on a hit.
        assert_eq!(answer.headers()[header::VARY], "Cookie");
    }
    assert!(status(&site.get("/page", &ann).await).contains("; hit"));
    for stranger in ["", "__Host-id=nonsense", "other=1"] {
        let refused = site.get("/page", stranger).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{stranger}");
    }
}

/// Without the opt-in it is as it was, and the answer says why.
#[tokio::test]
async fn by_default_a_read_outside_prevents_storing_and_is_named() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let made = Arc::default();
    let pages = Router::new()
        .route("/guarded", numbered(&made))
        .layer(CacheLayer::new(redis.clone()))
        .layer(from_fn(greet));
    let site = Site::new(&redis, pages).await;
    let ann = site.cookie("admin").await;
    // Also for a visitor without a cookie: the answer would be served to one who has one.
    for cookie in [&*ann, "", &*ann, ""] {
        let answer = site.get("/guarded", cookie).await;
        assert_eq!(status(&answer), "tower-fred; fwd=uri-miss; detail=session");
    }
}

/// The first mistake: an answer that is made of the session, behind the guard.
#[tokio::test]
async fn a_read_inside_prevents_storing() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let lasting = || [(header::CACHE_CONTROL, "max-age=60")];
    let value = get(async move |session: Session| {
        let role: Option<String> = session.get("role").await.expect("a read");
        (lasting(), role.unwrap_or_default())
    });
    let user = get(async move |session: Session| {
        let user = session.user().await.expect("a read");
        (lasting(), user.unwrap_or_default())
    });
    let alive = get(async move |session: Session| {
        let alive = session.is_alive().await.expect("a read");
        (lasting(), alive.to_string())
    });
    let handle = get(async move |session: Session| (lasting(), session.id().unwrap_or_default()));
    let flashes = get(async move |session: Session| {
        let flashes: Vec<String> = session.take_flashes().await.expect("a read");
        (lasting(), flashes.concat())
    });
    // The head has left when the session is read.
    let late = get(async move |session: Session| {
        let read = async move {
            let user = session.user().await.expect("a read");
            Ok::<_, Infallible>(Bytes::from(user.unwrap_or_default()))
        };
        let begin = stream::iter([Ok(Bytes::from("hello "))]);
        let body = begin.chain(read.into_stream());
        (lasting(), Body::from_stream(body))
    });
    for (number, caches) in [1, 2].into_iter().enumerate() {
        let pages = Router::new()
            .route("/value", value.clone())
            .route("/user", user.clone())
            .route("/alive", alive.clone())
            .route("/handle", handle.clone())
            .route("/flashes", flashes.clone())
            .route("/late", late.clone());
        let pages = (0..caches).fold(pages, |pages, _| pages.layer(by_role(&redis)));
        let site = Site::new(&redis, pages.layer(from_fn(guard))).await;
        let (ann, bob) = (site.cookie("admin").await, site.cookie("admin").await);
        for path in ["/value", "/user", "/alive", "/handle", "/flashes", "/late"] {
            for cookie in [&ann, &bob, &ann] {
                let answer = site.get(path, cookie).await;
                assert!(
                    !status(&answer).contains("; hit"),
                    "{number} {path}: {answer:?}"
                );
            }
        }
    }
}

/// The second mistake: a cache outside of the guard. Beside one behind it, which stores, it once found what that stored.
#[tokio::test]
async fn a_cache_outside_of_the_guard_never_serves_what_the_guard_refuses() {
    let server = Server::shared();
    type Wrap = fn(Router, &Redis) -> Router;
    let arrangements: [(&str, Wrap); 6] = [
        ("alone, without the opt-in", |pages, redis| {
            let ttl = Duration::from_secs(60);
            pages
                .layer(from_fn(guard))
                .layer(CacheLayer::new(redis.clone()).ttl(ttl))
        }),
        ("alone", |pages, redis| {
            pages.layer(from_fn(guard)).layer(by_role(redis))
        }),
        ("without the opt-in, around one", |pages, redis| {
            let inner = CacheLayer::new(redis.clone()).behind_guard();
            pages
                .layer(inner)
                .layer(from_fn(guard))
                .layer(CacheLayer::new(redis.clone()).near(1 << 20))
        }),
        ("around one of the same kind", |pages, redis| {
            let inner = CacheLayer::new(redis.clone()).behind_guard();
            pages
                .layer(inner.clone())
                .layer(from_fn(guard))
                .layer(inner)
        }),
        ("the same, with a read outside of both", |pages, redis| {
            let inner = CacheLayer::new(redis.clone()).behind_guard();
            pages
                .layer(inner.clone())
                .layer(from_fn(guard))
                .layer(inner)
                .layer(from_fn(greet))
        }),
        ("the same, passing requests on", |pages, redis| {
            let inner = CacheLayer::new(redis.clone()).behind_guard();
            let outer = inner.clone();
            pages
                .layer(inner)
                .layer(from_fn(guard))
                .layer(outer.bypass_when(|parts| parts.headers.contains_key("cookie")))
                .layer(from_fn(greet))
        }),
    ];
    for (what, wrap) in arrangements {
        let redis = patient(&server).await;
        let made = Arc::default();
        let pages = Router::new().route("/page", numbered(&made));
        let site = Site::new(&redis, wrap(pages, &redis)).await;
        let ann = site.cookie("admin").await;
        for _ in 0..3 {
            let answer = site.get("/page", &ann).await;
            assert_eq!(answer.status(), StatusCode::OK, "{what}");
            for stranger in ["", "__Host-id=nonsense"] {
                let refused = site.get("/page", stranger).await;
                assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{what}");
            }
        }
    }
}

/// The second request of a validation is as personal as the first would have been.
#[tokio::test]
async fn what_is_asked_again_is_marked_too() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let handler = get(async |request: Request| {
        let asks = request.headers().contains_key(header::IF_NONE_MATCH);
        let tag = |tag| [(header::ETAG, tag), (header::CACHE_CONTROL, "no-cache")];
        if asks {
            return (StatusCode::NOT_MODIFIED, tag("\"other\"")).into_response();
        }
        let mut user = None;
        if request.headers().contains_key(header::COOKIE) {
            user = session(&request).user().await.expect("a read");
        }
        (tag("\"page\""), user.unwrap_or_default()).into_response()
    });
    let pages = Router::new().route("/page", handler);
    let router = pages
        .route("/login/{role}", get(login))
        .layer(SessionLayer::new(redis.clone()))
        .layer(CacheLayer::new(redis.clone()));
    let http = HttpServer::axum(router).await;
    let site = Site { http, redis };
    let ann = site.cookie("ann").await;
    let first = site.get("/page", "").await;
    assert_eq!(status(&first), "tower-fred; fwd=uri-miss; stored");
    let second = site.get("/page", &ann).await;
    assert_eq!(second.body(), "ann");
    assert_eq!(status(&second), "tower-fred; fwd=stale; detail=session");
}
