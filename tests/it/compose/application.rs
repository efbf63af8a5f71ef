//! The application under the stacks: a page, and a count of visits.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::Router;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};
use tower_fred::{
    CacheLayer, RateLimitLayer, Redis, Session, SessionLayer,
    rate_limit::{PeerAddr, Quota},
};

use crate::support::http::HttpService;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Cache,
    RateLimit,
    Session,
}

/// The layers of each stack, the outermost first.
pub const STACKS: [&[Kind]; 9] = {
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

/// Whether `outer` is outside of `inner`.
pub fn before(stack: &[Kind], outer: Kind, inner: Kind) -> bool {
    let place = |kind| stack.iter().position(|&other| other == kind);
    matches!((place(outer), place(inner)), (Some(outer), Some(inner)) if outer < inner)
}

pub fn on_axum(stack: &[Kind], redis: &Redis) -> Router {
    let made = Arc::new(AtomicUsize::new(0));
    let handler = move |request: axum::extract::Request| {
        let made = Arc::clone(&made);
        async move { answer(request, &made).await }
    };
    let router = Router::new().fallback(handler);
    // axum puts each layer around those that were added before.
    stack.iter().rev().fold(router, |router, kind| match kind {
        Kind::Cache => router.layer(CacheLayer::new(redis.clone())),
        Kind::RateLimit => router.layer(RateLimitLayer::new(redis.clone(), quota())),
        Kind::Session => router.layer(SessionLayer::new(redis.clone())),
    })
}

type BoxedService =
    BoxCloneService<Request<Incoming>, Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible>;

pub fn on_hyper(
    stack: &[Kind],
    redis: &Redis,
) -> impl HttpService<UnsyncBoxBody<Bytes, Infallible>> {
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

fn boxed<S, B>(service: S) -> BoxedService
where
    S: HttpService<B>,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    BoxCloneService::new(service.map_response(|response| response.map(BodyExt::boxed_unsync)))
}

/// A page that may be cached for a minute, and a count of visits in the session.
pub async fn answer<B>(
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

pub fn quota() -> Quota {
    Quota::per_hour(1).burst(BURST)
}

pub const BURST: u32 = 60;
