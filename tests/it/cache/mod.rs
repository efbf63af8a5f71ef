//! The response cache in front of a handler that a test makes up.

// A request's way: collapsing, staleness, validation, failures.
mod flow;

// Bodies: long, slow, broken, or left by their client.
mod fill;

// The commands and keys in Redis.
mod state;

// What is stored, and under which key.
mod rules;

// The duties of the RFCs, case by case.
mod rfc;

// Other services, servers and routers.
mod composition;

// The reverse proxy of the examples, from outside.
mod proxy;

// Bodies that a layer around the cache, or within it, compresses.
mod compression;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt};
use tower_fred::{
    CacheLayer, Redis,
    cache::{Cache, CacheStatus},
    fred::{
        clients::Client,
        interfaces::KeysInterface,
        types::{Expiration, Value},
    },
};

use crate::support::{Counts, Server};

/// A handler, and how often it ran.
#[derive(Clone)]
pub struct Origin {
    reply: Arc<Handler>,
    calls: Arc<AtomicUsize>,
}

type Handler = dyn Fn(&Parts) -> Response<Body> + Send + Sync;

impl Origin {
    pub fn new(reply: impl Fn(&Parts) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self {
            reply: Arc::new(reply),
            calls: Arc::default(),
        }
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl<B> Service<Request<B>> for Origin {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(Ok((self.reply)(&request.into_parts().0)))
    }
}

/// A handler behind a cache, on a server that may be shared.
pub struct Site {
    pub redis: Redis,
    pub layer: CacheLayer,
    pub origin: Origin,
    pub server: Arc<Server>,
    cache: Cache<Origin>,
}

impl Site {
    /// A cache as it is by default.
    pub async fn new(reply: impl Fn(&Parts) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self::with(|layer| layer, reply).await
    }

    pub async fn with(
        settings: impl FnOnce(CacheLayer) -> CacheLayer,
        reply: impl Fn(&Parts) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let server = Server::shared();
        let redis = patient(&server).await;
        Self::made(server, redis, settings, reply)
    }

    pub async fn on(
        server: Arc<Server>,
        settings: impl FnOnce(CacheLayer) -> CacheLayer,
        reply: impl Fn(&Parts) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let redis = server.redis().await;
        Self::made(server, redis, settings, reply)
    }

    fn made(
        server: Arc<Server>,
        redis: Redis,
        settings: impl FnOnce(CacheLayer) -> CacheLayer,
        reply: impl Fn(&Parts) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let layer = settings(CacheLayer::new(redis.clone()));
        let origin = Origin::new(reply);
        Self {
            cache: layer.layer(origin.clone()),
            redis,
            layer,
            origin,
            server,
        }
    }

    pub fn service(&self) -> Cache<Origin> {
        self.cache.clone()
    }

    pub fn calls(&self) -> usize {
        self.origin.calls()
    }

    /// Sends a request, reads the whole answer, and waits until it is stored if it is to be.
    pub async fn send(&self, request: Request<Body>) -> Response<Bytes> {
        let response = self.service().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        self.settle().await;
        Response::from_parts(parts, body)
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        self.send(request("GET", path, headers)).await
    }

    /// Waits for the commands that were begun in the background: replies come in the order of the commands.
    pub async fn settle(&self) {
        for _ in 0..8 {
            // An unavailable server stores nothing that could be waited for.
            let _ = self.redis.ping().await;
        }
    }

    /// All keys of this site.
    pub async fn keys(&self) -> Vec<String> {
        let admin = self.server.admin().await;
        let pattern = format!("{}:*", self.redis.namespace());
        let keys: Vec<String> = custom(&admin, "KEYS", vec![pattern.into()]).await;
        let mut entries = Vec::new();
        for key in keys {
            // What was purged, and who is making what, have keys of their own, or a value that is no entry.
            if key.contains(":c:{") && !key.ends_with(":r") {
                let kind: Bytes = admin.getrange(&key, 11, 11).await.unwrap_or_default();
                entries.extend((kind.as_ref() != [LEASE]).then_some(key));
            }
        }
        entries
    }

    /// Changes the one value that is stored.
    pub async fn tamper(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let keys = self.keys().await;
        let [key] = keys.as_slice() else {
            panic!("not one key: {keys:?}");
        };
        let admin = self.server.admin().await;
        let value: Bytes = admin.get(key).await.expect("GET");
        let mut value = value.to_vec();
        change(&mut value);
        let value = Bytes::from(value);
        let _: () = admin.set(key, value, None, None, false).await.expect("SET");
    }
}

/// A handle that waits for an answer, however busy the machine is.
pub async fn patient(server: &Server) -> Redis {
    let redis = server.redis().await;
    redis
        .with_deadline(std::time::Duration::from_secs(20))
        .expect("a deadline")
}

/// Lets all entries of a handle's namespace be `by` older, as if that time had passed.
pub async fn travel(server: &Server, redis: &Redis, by: std::time::Duration) {
    let admin = server.admin().await;
    let by_ms = i64::try_from(by.as_millis()).expect("a time");
    let pattern = format!("{}:c:*", redis.namespace());
    let keys: Vec<String> = custom(&admin, "KEYS", vec![pattern.into()]).await;
    for key in keys {
        let value: Option<Bytes> = admin.get(&key).await.expect("GET");
        let left: i64 = admin.pttl(&key).await.expect("PTTL");
        let Some(value) = value else { continue };
        let is_response = value.get(11) == Some(&1);
        if left <= by_ms && is_response {
            let _: () = admin.del(&key).await.expect("DEL");
            continue;
        }
        if !is_response {
            continue;
        }
        let mut value = value.to_vec();
        // When it was received, and the checksum of all that follows it.
        let born_ms = u64::from_le_bytes(value[BORN..BORN + 8].try_into().expect("eight bytes"));
        let earlier = born_ms.saturating_sub(by_ms.unsigned_abs());
        value[BORN..BORN + 8].copy_from_slice(&earlier.to_le_bytes());
        let sum = twox_hash::XxHash3_64::oneshot(&value[11..]);
        value[3..11].copy_from_slice(&sum.to_le_bytes());
        let expiry = Some(Expiration::PX(left - by_ms));
        let _: () = admin
            .set(&key, Bytes::from(value), expiry, None, false)
            .await
            .expect("SET");
    }
}

/// What says that somebody is making an entry.
const LEASE: u8 = 4;
/// Where an entry says when it was received.
const BORN: usize = 44;

pub async fn custom<R: tower_fred::fred::types::FromValue>(
    client: &Client,
    command: &'static str,
    arguments: Vec<Value>,
) -> R {
    use tower_fred::fred::{
        interfaces::ClientLike,
        types::{ClusterHash, CustomCommand},
    };
    let command = CustomCommand::new_static(command, ClusterHash::Random, false);
    client.custom(command, arguments).await.expect("a reply")
}

pub fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "shop.example");
    for (name, value) in headers {
        request = request.header(*name, value.as_bytes());
    }
    request.body(Body::empty()).expect("a request")
}

pub fn reply(headers: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::builder();
    for (name, value) in headers {
        response = response.header(*name, value.as_bytes());
    }
    response.body(body.into()).expect("a response")
}

/// An answer that may be kept for an hour.
pub fn fresh(body: impl Into<Body>) -> Response<Body> {
    reply(&[("cache-control", "max-age=3600")], body)
}

pub fn status<B>(response: &Response<B>) -> CacheStatus {
    *response
        .extensions()
        .get::<CacheStatus>()
        .expect("a status in the extensions")
}

pub fn is_hit<B>(response: &Response<B>) -> bool {
    status(response).is_hit()
}

/// The one value of a field.
pub fn field<'a, B>(response: &'a Response<B>, name: &str) -> Option<&'a str> {
    let mut lines = response.headers().get_all(name).iter();
    let (line, more) = (lines.next()?, lines.next());
    assert!(more.is_none(), "one line of {name}");
    Some(line.to_str().expect("ASCII"))
}

/// How often a command was sent; reading the purge log goes on beside it.
pub fn entries(counts: &Counts) -> [u64; 4] {
    ["get", "set", "del", "evalsha"].map(|command| counts.of(command))
}
