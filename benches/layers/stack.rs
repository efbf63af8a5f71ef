//! All three layers beside their commands.

use tower::{ServiceBuilder, service_fn};
use tower_fred::{CacheLayer, RateLimitLayer, Redis, SessionLayer, rate_limit::Quota};

use crate::{
    baselines::{fill, page, request},
    harness::Case,
};

pub(crate) async fn cases(redis: &Redis) -> Vec<Case> {
    let stack = ServiceBuilder::new()
        .layer(RateLimitLayer::new(redis.clone(), Quota::per_second(1_000_000)).name("stacked"))
        .layer(SessionLayer::new(redis.clone()))
        .layer(CacheLayer::new(redis.clone()).name("stacked"))
        .service(service_fn(|_| page(Some("max-age=600"))));
    fill(&stack, &request()).await;
    vec![Case::service(
        "all three: allowed, untouched, hit",
        &["bare + GET", "bare + EVALSHA"],
        stack,
        request(),
    )]
}
