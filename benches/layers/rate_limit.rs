//! Rate limits beside one script call, and beside a limiter in one process.

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use governor::RateLimiter as Governor;
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer, Redis,
    fred::{
        interfaces::{ClientLike, KeysInterface},
        types::{Expiration, InfoKind},
    },
    rate_limit::{Algorithm, BearerToken, Policies, Policy, Quota, RateLimiter},
};

use crate::{
    baselines::{page, request},
    harness::Case,
};

const GENEROUS: Quota = Quota::per_second(1_000_000);
const ONE_CALL: &[&str] = &["bare + EVALSHA"];

pub(crate) async fn cases(redis: &Redis) -> Vec<Case> {
    let layer = |policies: Policies| RateLimitLayer::new(redis.clone(), policies);
    let bare = || service_fn(|_| page(None));
    let named = |name: &str| layer(Policy::new(name, GENEROUS).into());
    let four = |prefix: &str| -> Policies {
        let one = |number| Policy::new(&format!("{prefix}{number}"), GENEROUS);
        (1..=4).map(one).collect::<Vec<_>>().into()
    };
    let strict = |name| layer(Policy::new(name, Quota::per_day(1)).into());
    let remembered = strict("remembered").layer(bare());
    let asked = strict("asked").no_denial_memory().layer(bare());
    for denied in [remembered.clone(), asked.clone()] {
        let request = request().map(|_| Full::<Bytes>::default());
        denied.oneshot(request).await.expect("the only one");
    }
    let two_keys = named("address").and_by(BearerToken, Policy::new("account", GENEROUS));
    let service =
        |name, layer: RateLimitLayer| Case::service(name, ONE_CALL, layer.layer(bare()), request());
    vec![
        governor_case(),
        service("rate limit, allowed", named("allowed")),
        service("rate limit, four policies", layer(four("p"))),
        service("rate limit, two keys", two_keys.missing_key_shared()),
        service(
            "rate limit, sliding window",
            named("ring").algorithm(Algorithm::SlidingWindow),
        ),
        service(
            "rate limit, a place",
            layer(Policy::concurrency("places", 1_000).into()),
        ),
        Case::service("rate limit, denied by Redis", ONE_CALL, asked, request()),
        Case::service(
            "rate limit, denied, remembered",
            &["bare handler"],
            remembered,
            request(),
        ),
        service(
            "rate limit, batches of 64",
            named("batched").local_batch(64),
        ),
    ]
}

/// The same decision by the crate `governor`, in this process.
fn governor_case() -> Case {
    let quota = governor::Quota::per_second(NonZeroU32::MAX);
    let governor = Arc::new(Governor::keyed(quota));
    let service = service_fn(move |_| {
        governor.check_key(&7_u64).expect("a permit");
        page(None)
    });
    let name = "rate limit by governor, in process";
    Case::service(name, &["bare handler"], service, request())
}

/// The time of a call inside the server, by the statistics of the server, beside INCR.
pub(crate) async fn costs(redis: &Redis) {
    println!("inside the server, us/call");
    let before = spent(redis, "incr").await;
    let key = format!("{}:incr", redis.namespace());
    let minute = Some(Expiration::EX(60));
    let client = redis.client();
    let _: () = client.set(&key, 0, minute, None, false).await.expect("set");
    for _ in 0..CALLS {
        let _: i64 = client.incr(&key).await.expect("incr");
    }
    let incr = per_call(before, spent(redis, "incr").await);
    println!("  {:<36} {incr:>10.2}", "INCR");
    let policy = |name: &str, algorithm| Policy::new(name, GENEROUS).algorithm(algorithm);
    let many = |count| (0..count).map(|number| policy(&format!("m{number}"), Algorithm::Gcra));
    let log = Policy::new("log", Quota::per_second(10_000)).algorithm(Algorithm::SlidingLog);
    let sets: [(&str, Policies); 8] = [
        ("GCRA", policy("c-gcra", Algorithm::Gcra).into()),
        (
            "GCRA, denied",
            Policy::new("c-denied", Quota::per_day(1)).into(),
        ),
        ("sliding log", log.into()),
        (
            "sliding window",
            policy("c-ring", Algorithm::SlidingWindow).into(),
        ),
        (
            "calendar window",
            policy("c-calendar", Algorithm::CalendarWindow).into(),
        ),
        (
            "a place, taken and given back",
            Policy::concurrency("c-places", 1_000).into(),
        ),
        ("two policies", many(2).collect::<Vec<_>>().into()),
        ("four policies", many(4).collect::<Vec<_>>().into()),
    ];
    for (name, policies) in sets {
        let limiter = RateLimiter::new(redis.clone(), policies).no_denial_memory();
        // The first call sends the script.
        let _ = limiter.check("x").await.expect("a decision");
        let before = spent(redis, "evalsha").await;
        for _ in 0..CALLS {
            let _ = limiter.check("x").await.expect("a decision");
        }
        let each = per_call(before, spent(redis, "evalsha").await);
        println!("  {name:<36} {each:>10.2} {:>6.1} x INCR", each / incr);
    }
    println!();
}

/// The memory of the server for a million subjects.
pub(crate) async fn memory(redis: &Redis) {
    const SUBJECTS: u64 = 1_000_000;
    println!("{SUBJECTS} subjects");
    let window = Duration::from_secs(600);
    for (name, algorithm) in [
        ("GCRA", Algorithm::Gcra),
        ("sliding window", Algorithm::SlidingWindow),
    ] {
        let policy = Policy::new(name, Quota::new(1, window)).algorithm(algorithm);
        let limiter = RateLimiter::new(redis.clone(), policy);
        let before = number(redis, InfoKind::Memory, "used_memory:").await;
        let began = Instant::now();
        for start in (0..SUBJECTS).step_by(500) {
            let asked = (start..start + 500).map(|subject| limiter.check(subject));
            for decision in join_all(asked).await {
                assert!(decision.expect("a decision").is_allowed());
            }
        }
        let took = began.elapsed();
        let each =
            (number(redis, InfoKind::Memory, "used_memory:").await - before) / SUBJECTS as f64;
        println!("  {name:<36} {each:>10.0} bytes each, in {took:.1?}");
        for start in (0..SUBJECTS).step_by(500) {
            join_all((start..start + 500).map(|subject| limiter.reset(subject))).await;
        }
        let left = number(redis, InfoKind::Memory, "used_memory:").await - before;
        println!(
            "  {:<36} {:>10.0} bytes each",
            "after they are gone",
            left / SUBJECTS as f64
        );
    }
    println!();
}

/// The calls of a command, and their microseconds.
async fn spent(redis: &Redis, command: &str) -> (f64, f64) {
    let calls = number(
        redis,
        InfoKind::CommandStats,
        &format!("cmdstat_{command}:calls="),
    )
    .await;
    let info = info(redis, InfoKind::CommandStats).await;
    let line = info
        .lines()
        .find(|line| line.starts_with(&format!("cmdstat_{command}:")));
    let micros = line
        .and_then(|line| line.split("usec=").nth(1))
        .map_or(0.0, leading);
    (calls, micros)
}

fn per_call(before: (f64, f64), after: (f64, f64)) -> f64 {
    (after.1 - before.1) / (after.0 - before.0)
}

async fn number(redis: &Redis, kind: InfoKind, prefix: &str) -> f64 {
    let info = info(redis, kind).await;
    let line = info.lines().find_map(|line| line.strip_prefix(prefix));
    line.map_or(0.0, leading)
}

async fn info(redis: &Redis, kind: InfoKind) -> String {
    redis.client().info(Some(kind)).await.expect("info")
}

fn leading(text: &str) -> f64 {
    let end = text.find(|one: char| !one.is_ascii_digit() && one != '.');
    text[..end.unwrap_or(text.len())].parse().unwrap_or(0.0)
}

const CALLS: usize = 5_000;
