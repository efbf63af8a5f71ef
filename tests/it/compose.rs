//! The layers alone and together, in every order, on axum and on plain hyper, over a connection of the handle's own and
//! over an application's pool.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use bytes::{Buf, Bytes};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};
use tower_fred::{
    CacheLayer, RateLimitLayer, Redis, Session, SessionLayer,
    rate_limit::{PeerAddr, Quota},
};

use crate::support::{Server, http::HttpServer};

#[tokio::test]
async fn every_stack_works_on_axum_and_hyper_over_a_connection_and_a_pool() {
    let server = Server::shared();
    for stack in STACKS {
        for (client, redis) in [
            ("connect", server.redis().await),
            ("pool", server.pooled().await),
        ] {
            let http = HttpServer::axum(on_axum(stack, &redis)).await;
            check(&http, stack, &format!("{stack:?} on axum, {client}")).await;
        }
        for (client, redis) in [
            ("connect", server.redis().await),
            ("pool", server.pooled().await),
        ] {
            let http = HttpServer::hyper(on_hyper(stack, &redis)).await;
            check(&http, stack, &format!("{stack:?} on hyper, {client}")).await;
        }
    }
}

/// The full stack over a handle, for deployments of other kinds.
pub async fn check_all_three(redis: &Redis, what: &str) {
    let stack = STACKS[STACKS.len() - 1];
    let http = HttpServer::axum(on_axum(stack, redis)).await;
    check(&http, stack, what).await;
}

/// Visits the application as a client would, and expects what the layers of `stack` promise, and nothing else.
async fn check(http: &HttpServer, stack: &[Kind], what: &str) {
    let mut visitor = Visitor {
        http,
        what,
        sent: 0,
    };
    check_cache(&mut visitor, stack.contains(&Kind::Cache)).await;
    check_session(&mut visitor, stack.contains(&Kind::Session)).await;
    if stack.contains(&Kind::RateLimit) {
        check_rate_limit(&mut visitor, stack).await;
    }
}

struct Visitor<'a> {
    http: &'a HttpServer,
    what: &'a str,
    sent: u32,
}

impl Visitor<'_> {
    async fn get(&mut self, path: &str, cookie: &str) -> Response<Bytes> {
        self.sent += 1;
        let response = self.http.get(path, &[("cookie", cookie)]).await;
        let (what, sent) = (self.what, self.sent);
        assert_eq!(
            response.status(),
            StatusCode::OK,
            "{what}: request {sent} for {path}"
        );
        response
    }
}

/// A cached answer is the same one again; without the cache every answer is a new one.
async fn check_cache(visitor: &mut Visitor<'_>, cached: bool) {
    let what = visitor.what;
    let first = visitor.get("/page", "").await;
    assert!(
        !first.headers().contains_key(header::SET_COOKIE),
        "{what}: an untouched session"
    );
    assert_eq!(
        first.headers().contains_key("cache-status"),
        cached,
        "{what}: {first:?}"
    );
    if !cached {
        assert_ne!(
            visitor.get("/page", "").await.body(),
            first.body(),
            "{what}"
        );
        return;
    }
    loop {
        // The answer is stored just after its last byte.
        let again = visitor.get("/page", "").await;
        if again.headers().contains_key(header::AGE) {
            return;
        }
    }
}

async fn check_session(visitor: &mut Visitor<'_>, kept: bool) {
    let what = visitor.what;
    let visit = visitor.get("/visit", "").await;
    if !kept {
        assert_eq!(visit.body(), "no session", "{what}");
        return;
    }
    assert_eq!(visit.body(), "visit 1", "{what}");
    let cookie = visit.headers()[header::SET_COOKIE]
        .to_str()
        .expect("a cookie");
    let cookie = cookie.split(';').next().unwrap_or_default();
    assert_eq!(
        visitor.get("/visit", cookie).await.body(),
        "visit 2",
        "{what}"
    );
    assert_eq!(
        visitor.get("/visit", "").await.body(),
        "visit 1",
        "{what}: another visitor"
    );
}

/// What is left of the burst is admitted, and not one more.
async fn check_rate_limit(visitor: &mut Visitor<'_>, stack: &[Kind]) {
    let what = visitor.what;
    let left = remaining(&visitor.get("/visit", "").await);
    let cache_is_outside = before(stack, Kind::Cache, Kind::RateLimit);
    if !cache_is_outside {
        assert_eq!(left, BURST - visitor.sent, "{what}: every request counts");
    }
    for _ in 0..left {
        visitor.get("/visit", "").await;
    }
    let denied = visitor.http.get("/visit", &[]).await;
    assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS, "{what}");
    // A cache around the limit answers what it has; the other way round it is not asked.
    let page = visitor.http.get("/page", &[]).await;
    let answered = page.status() == StatusCode::OK;
    assert_eq!(answered, cache_is_outside, "{what}: {page:?}");
}

fn remaining<B>(response: &Response<B>) -> u32 {
    let field = response.headers()["ratelimit"].to_str().expect("text");
    let item = field
        .split(";r=")
        .nth(1)
        .and_then(|rest| rest.split(';').next());
    item.and_then(|number| number.parse().ok())
        .expect("a number")
}

/// Over a service that has one place, a layer that calls another instance than the one made ready panics or waits for
/// ever.
#[tokio::test]
async fn all_three_work_over_a_service_with_one_place() {
    let server = Server::shared();
    let redis = server.redis().await;
    let service = ServiceBuilder::new()
        .layer(RateLimitLayer::new(redis.clone(), quota()))
        .layer(SessionLayer::new(redis.clone()))
        .layer(CacheLayer::new(redis))
        .concurrency_limit(1)
        .service(service_fn(|request: Request<Full<Bytes>>| async move {
            answer(request, &Arc::default()).await
        }));
    for path in ["/page", "/page", "/page", "/visit", "/visit"] {
        let request = Request::get(path).header(header::HOST, "shop.example");
        let request = request.body(Full::<Bytes>::default()).expect("a request");
        let response = service.clone().oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.into_body().collect().await.expect("a body");
    }
}

/// A page of one user served to another: the route may be cached, but the handler looked into the session. The session
/// layer's `Vary: Cookie` comes too late for a cache inside it.
#[tokio::test]
async fn an_answer_made_from_the_session_is_never_cached() {
    let server = Server::shared();
    for order in [[Kind::Session, Kind::Cache], [Kind::Cache, Kind::Session]] {
        let redis = server.redis().await;
        let handler = async |session: Session| {
            let name: Option<String> = session.get("name").await.expect("a read");
            name.unwrap_or_else(|| "nobody".into())
        };
        let login = async |session: Session| session.insert("name", "ada").expect("a value");
        let router = Router::new().route("/", axum::routing::get(handler).post(login));
        let router = order.iter().rev().fold(router, |router, kind| match kind {
            Kind::Cache => {
                router.layer(CacheLayer::new(redis.clone()).ttl(Duration::from_secs(60)))
            }
            _ => router.layer(SessionLayer::new(redis.clone())),
        });
        let http = HttpServer::axum(router).await;

        let login = Request::post(http.url("/"))
            .body(Full::default())
            .expect("a request");
        let login = http.send(login).await;
        let cookie = login.headers()[header::SET_COOKIE]
            .to_str()
            .expect("a cookie");
        let cookie = cookie.split(';').next().unwrap_or_default();
        for (cookie, name) in [(cookie, "ada"), ("", "nobody"), (cookie, "ada")] {
            let answer = http.get("/", &[("cookie", cookie)]).await;
            assert_eq!(answer.body(), name, "{order:?}");
            let status = answer.headers()["cache-status"].to_str().expect("text");
            assert!(!status.contains("stored"), "{order:?}: {status}");
        }
    }
}

/// Chunks of a body that are a type of their own, as another server's may be.
#[derive(Clone, Debug, Default)]
struct Chunk(Bytes);
impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}
impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.0.remaining()
    }
    fn chunk(&self) -> &[u8] {
        self.0.chunk()
    }
    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }
}

#[tokio::test]
async fn a_body_with_chunks_of_its_own_passes_through_all_three() {
    let server = Server::shared();
    let redis = server.redis().await;
    let service = ServiceBuilder::new()
        .layer(CacheLayer::new(redis.clone()))
        .layer(RateLimitLayer::new(redis.clone(), quota().burst(1)))
        .layer(SessionLayer::new(redis))
        .service(service_fn(|request: Request<String>| async move {
            let mut response = Response::new(Full::new(Chunk("made".into())));
            if request.uri().path() == "/page" {
                let lifetime = header::HeaderValue::from_static("max-age=60");
                response
                    .headers_mut()
                    .insert(header::CACHE_CONTROL, lifetime);
            }
            Ok::<_, Infallible>(response)
        }));
    let get = async |path: &str| {
        let request = Request::get(path)
            .header(header::HOST, "shop.example")
            .body(String::new())
            .expect("a request");
        let response = service
            .clone()
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {});
        let (parts, body) = response.into_parts();
        (parts, body.collect().await.expect("a body").to_bytes())
    };
    assert_eq!(get("/page").await.1, "made");
    let (denied, text) = get("/other").await;
    assert_eq!(denied.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(!text.is_empty(), "the layer's own body");
    loop {
        let (hit, text) = get("/page").await;
        if hit.headers.contains_key(header::AGE) {
            assert_eq!(text, "made");
            break;
        }
        assert_eq!(
            hit.status,
            StatusCode::TOO_MANY_REQUESTS,
            "the answer is not stored yet"
        );
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cache,
    RateLimit,
    Session,
}

/// Outermost first.
const STACKS: [&[Kind]; 9] = {
    use Kind::{Cache, RateLimit, Session};
    [
        &[Cache],
        &[RateLimit],
        &[Session],
        &[Cache, RateLimit, Session],
        &[Cache, Session, RateLimit],
        &[RateLimit, Cache, Session],
        &[RateLimit, Session, Cache],
        &[Session, Cache, RateLimit],
        &[Session, RateLimit, Cache],
    ]
};

fn before(stack: &[Kind], outer: Kind, inner: Kind) -> bool {
    let place = |kind| stack.iter().position(|&other| other == kind);
    matches!((place(outer), place(inner)), (Some(outer), Some(inner)) if outer < inner)
}

fn on_axum(stack: &[Kind], redis: &Redis) -> Router {
    let made = Arc::new(AtomicUsize::new(0));
    let handler = move |request: axum::extract::Request| {
        let made = Arc::clone(&made);
        async move { answer(request, &made).await }
    };
    let router = Router::new().fallback(handler);
    // The last layer that is added is the outermost.
    stack.iter().rev().fold(router, |router, kind| match kind {
        Kind::Cache => router.layer(CacheLayer::new(redis.clone())),
        Kind::RateLimit => router.layer(RateLimitLayer::new(redis.clone(), quota())),
        Kind::Session => router.layer(SessionLayer::new(redis.clone())),
    })
}

type HyperService =
    BoxCloneService<Request<Incoming>, Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible>;

fn on_hyper(stack: &[Kind], redis: &Redis) -> HyperService {
    let made = Arc::new(AtomicUsize::new(0));
    let handler = service_fn(move |request| {
        let made = Arc::clone(&made);
        async move { answer(request, &made).await }
    });
    let service = stack
        .iter()
        .rev()
        .fold(boxed(handler), |service, kind| match kind {
            Kind::Cache => boxed(CacheLayer::new(redis.clone()).layer(service)),
            Kind::RateLimit => boxed(RateLimitLayer::new(redis.clone(), quota()).layer(service)),
            Kind::Session => boxed(SessionLayer::new(redis.clone()).layer(service)),
        });
    let peer = |mut request: Request<Incoming>| {
        request
            .extensions_mut()
            .insert(PeerAddr(([127, 0, 0, 1], 1).into()));
        request
    };
    BoxCloneService::new(service.map_request(peer))
}

fn boxed<S, B>(service: S) -> HyperService
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    BoxCloneService::new(service.map_response(|response| response.map(BodyExt::boxed_unsync)))
}

/// A page that may be cached for a minute, and a count of visits in the session.
async fn answer<B>(
    request: Request<B>,
    made: &AtomicUsize,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    let text = if request.uri().path() == "/page" {
        let lifetime = header::HeaderValue::from_static("max-age=60");
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, lifetime);
        format!("made {}", made.fetch_add(1, Ordering::Relaxed))
    } else if let Some(session) = request.extensions().get::<Session>() {
        let visits = session.get("visits").await.expect("a read").unwrap_or(0) + 1;
        session.insert("visits", &visits).expect("a value");
        format!("visit {visits}")
    } else {
        "no session".into()
    };
    *response.body_mut() = Full::from(text);
    Ok(response)
}

fn quota() -> Quota {
    Quota::per_hour(1).burst(BURST)
}

const BURST: u32 = 60;
