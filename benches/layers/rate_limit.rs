//! Rate limits beside one script call.

use bytes::Bytes;
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{RateLimitLayer, Redis, rate_limit::Quota};

use crate::{
    baselines::{page, request},
    harness::Case,
};

pub(crate) async fn cases(redis: &Redis) -> Vec<Case> {
    let generous = RateLimitLayer::new(redis.clone(), Quota::per_second(1_000_000)).name("allowed");
    let strict = RateLimitLayer::new(redis.clone(), Quota::per_day(1)).name("denied");
    let denied = strict.layer(service_fn(|_| page(None)));
    denied
        .clone()
        .oneshot(request().map(|()| Full::<Bytes>::default()))
        .await
        .expect("the only one");
    vec![
        Case::service(
            "rate limit, allowed",
            &["bare + EVALSHA"],
            generous.layer(service_fn(|_| page(None))),
            request(),
        ),
        Case::service("rate limit, denied", &["bare + EVALSHA"], denied, request()),
    ]
}
