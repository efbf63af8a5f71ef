//! Whom a request counts against.

mod forwarded;
mod keys;
mod missing_keys;
mod peers;
mod searches;

use std::{convert::Infallible, net::SocketAddr};

use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer, Redis,
    rate_limit::{Key, Quota},
};

const TWO: Quota = Quota::per_day(2);

/// Only what Redis decides shall count.
fn limit(redis: Redis, quota: Quota) -> RateLimitLayer {
    RateLimitLayer::new(redis, quota).fail_closed()
}

const OK: StatusCode = StatusCode::OK;

const DENIED: StatusCode = StatusCode::TOO_MANY_REQUESTS;

/// The statuses that a layer answers these requests with.
async fn statuses<K: Key>(
    layer: &RateLimitLayer<K>,
    requests: Vec<Request<String>>,
) -> Vec<StatusCode> {
    let service = layer.layer(service_fn(async |_: Request<String>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(service.clone().oneshot(request).await.unwrap().status());
    }
    statuses
}

fn with<T: Clone + Send + Sync + 'static>(extension: T) -> Request<String> {
    let mut request = Request::new(String::new());
    request.extensions_mut().insert(extension);
    request
}

fn socket(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), 4711)
}
