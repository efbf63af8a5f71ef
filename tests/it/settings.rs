//! Settings that cannot work are refused when a layer or an object is made, not while a request runs.
//!
//! Those of the handle are in `redis::connect`, `redis::connection::tls` and `redis::shared_client`; those of a cookie in
//! `session::cookies`.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tower_fred::{
    CacheLayer, RateLimitLayer, SessionLayer,
    memo::Memo,
    rate_limit::{Quota, RateLimiter},
    session::SessionStore,
};

use crate::support::Server;

/// The message of the panic; `None` when `make` succeeds.
fn refusal<T>(make: impl FnOnce() -> T) -> Option<String> {
    let text = |panic: Box<dyn Any + Send>| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast::<&'static str>()
            .map_or_else(|_| String::new(), |text| (*text).to_owned()),
    };
    catch_unwind(AssertUnwindSafe(make)).err().map(text)
}

#[tokio::test]
async fn times_that_redis_cannot_keep_are_refused() {
    let server = Server::shared();
    let redis = server.redis().await;
    let memo = |ttl| Memo::<u8>::new(redis.clone(), "m", ttl);
    let cache = |ttl| CacheLayer::new(redis.clone()).ttl(ttl);
    let sessions = || SessionLayer::new(redis.clone());
    let store = || SessionStore::new(redis.clone());
    for time in [Duration::ZERO, Duration::from_micros(999), Duration::MAX] {
        let refusals = [
            ("ttl", refusal(|| memo(time))),
            ("timeout", refusal(|| sessions().idle_timeout(time))),
            ("timeout", refusal(|| sessions().absolute_timeout(time))),
            ("timeout", refusal(|| store().idle_timeout(time))),
            ("timeout", refusal(|| store().absolute_timeout(time))),
        ];
        for (at, (field, refusal)) in refusals.into_iter().enumerate() {
            let text = refusal.unwrap_or_else(|| panic!("{time:?}, number {at} was accepted"));
            assert!(text.contains(field), "{text}");
        }
    }
    for time in [Duration::ZERO, Duration::from_micros(999)] {
        assert!(refusal(|| cache(time)).is_some_and(|text| text.contains("ttl")));
    }
    let shortest = Duration::from_millis(1);
    for time in [shortest, Duration::from_secs(100 * 365 * 24 * 60 * 60)] {
        assert_eq!(refusal(|| memo(time)), None, "{time:?}");
        assert_eq!(refusal(|| sessions().idle_timeout(time)), None, "{time:?}");
    }
    assert_eq!(refusal(|| cache(shortest)), None);
    // The cache shortens it to a day.
    assert_eq!(refusal(|| cache(Duration::MAX)), None);
}

/// Redis accepts the longest times that the settings accept.
#[tokio::test]
async fn the_longest_times_are_kept() {
    let server = Server::shared();
    let redis = server.redis().await;
    let longest = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    let memo = Memo::new(redis.clone(), "m", longest);
    memo.set(1, &7u8).await.expect("kept");
    assert_eq!(memo.get(1).await.expect("an answer"), Some(7));
    let store = SessionStore::new(redis)
        .idle_timeout(longest)
        .absolute_timeout(longest);
    let token = store.create(&serde_json::json!({})).await.expect("kept");
    let record = store.load(&token.cookie_value()).await.expect("an answer");
    assert!(record.is_some());
}

#[tokio::test]
async fn names_that_no_header_can_carry_are_refused() {
    let server = Server::shared();
    let redis = server.redis().await;
    let quota = Quota::per_second(1);
    for name in ["", "caf\u{e9}", "a\r\nb: c", "\0", "\x7f"] {
        let refusals = [
            refusal(|| CacheLayer::new(redis.clone()).name(name)),
            refusal(|| RateLimitLayer::new(redis.clone(), quota).name(name)),
            refusal(|| RateLimiter::new(redis.clone(), quota).name(name)),
        ];
        for (at, refusal) in refusals.into_iter().enumerate() {
            let text = refusal.unwrap_or_else(|| panic!("{name:?}, number {at} was accepted"));
            assert!(text.contains("name"), "{text}");
        }
    }
}

#[test]
fn quotas_that_admit_nothing_or_never_end_are_refused() {
    let refusals = [
        refusal(|| Quota::per_second(0)),
        refusal(|| Quota::per_minute(0)),
        refusal(|| Quota::per_hour(0)),
        refusal(|| Quota::per_day(0)),
        refusal(|| Quota::new(1, Duration::ZERO)),
        refusal(|| Quota::new(1, Duration::MAX)),
        refusal(|| Quota::per_second(1).burst(0)),
        refusal(|| Quota::per_day(1).burst(u32::MAX)),
    ];
    for (at, refusal) in refusals.into_iter().enumerate() {
        let text = refusal.unwrap_or_else(|| panic!("number {at} was accepted"));
        let fields = ["permits", "window", "burst"];
        assert!(fields.iter().any(|field| text.contains(field)), "{text}");
    }
}
