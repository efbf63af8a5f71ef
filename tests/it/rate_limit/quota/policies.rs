//! Several policies at once: on one subject, and on several.

use std::convert::Infallible;

use http::{Request, Response, StatusCode, request::Parts};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer, Redis,
    fred::clients::Client,
    rate_limit::{Decision, Key, Policy, Quota, RateLimiter, Standing},
};

use crate::{
    rate_limit::{
        ALGORITHMS, admitted, command, keys, only_key, patient, patient_in, patient_pool,
    },
    support::{Server, topology::Cluster},
};

const OK: StatusCode = StatusCode::OK;
const DENIED: StatusCode = StatusCode::TOO_MANY_REQUESTS;

/// So many a day, under a name.
fn daily(name: &str, permits: u32) -> Policy {
    Policy::new(name, Quota::per_day(permits))
}

/// What the keys hold, byte for byte.
async fn dump(admin: &Client, namespace: &str) -> Vec<(String, tower_fred::fred::types::Value)> {
    let mut all = Vec::new();
    for key in keys(admin, namespace).await {
        let value = command(admin, "DUMP", &[&key]).await;
        all.push((key, value));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[tokio::test]
async fn all_count_a_request_or_none_does() {
    let server = Server::shared();
    let admin = server.admin().await;
    for algorithm in ALGORITHMS {
        let redis = patient(&server).await;
        let policies = [daily("small", 3), daily("large", 7)];
        let both = RateLimiter::new(redis.clone(), policies).algorithm(algorithm);
        let both = both.no_denial_memory();
        assert_eq!(admitted(&both, "alice", 3).await, 3);
        let before = dump(&admin, redis.namespace()).await;
        assert_eq!(before.len(), 2);
        assert_eq!(admitted(&both, "alice", 10).await, 0);
        assert_eq!(
            dump(&admin, redis.namespace()).await,
            before,
            "{algorithm:?}"
        );

        let Decision::Deny(denial) = both.check("alice").await.unwrap() else {
            panic!("admitted");
        };
        let violated: Vec<_> = denial.violated().map(Standing::policy).collect();
        assert_eq!(violated, ["small"]);
        assert_eq!(denial.standing().policy(), "small");
        let decision = Decision::Deny(denial);
        let left: Vec<_> = decision
            .standings()
            .iter()
            .map(Standing::remaining)
            .collect();
        assert_eq!(left, [0, 4], "{algorithm:?}");

        // A policy of the same name is the same budget, whatever it is together with.
        let large = RateLimiter::new(redis, daily("large", 7)).algorithm(algorithm);
        assert_eq!(admitted(&large, "alice", 9).await, 4, "{algorithm:?}");
    }
}

#[tokio::test]
async fn the_most_restrictive_is_reported() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let limiter = RateLimiter::new(redis, [daily("a", 100), daily("b", 10), daily("c", 50)]);
    let first = limiter.check_n("alice", 5).await.unwrap();
    assert_eq!((first.standing().policy(), first.remaining()), ("b", 5));
    let names: Vec<_> = first.standings().iter().map(Standing::policy).collect();
    assert_eq!(names, ["a", "b", "c"]);
    // 60 is too much for two of them, for one of them for ever: that is what is told.
    let denied = limiter.check_n("alice", 45).await.unwrap();
    let Decision::Deny(denial) = denied else {
        panic!("admitted");
    };
    assert!(denial.is_permanent());
    assert_eq!(
        (denial.standing().policy(), denial.retry_after()),
        ("b", None)
    );
}

#[tokio::test]
async fn one_command_whatever_the_number() {
    let server = Server::start();
    for redis in [patient(&server).await, patient_pool(&server).await] {
        for count in [1, 2, 4, 8] {
            let policies: Vec<_> = (0..count)
                .map(|number| {
                    let algorithm = ALGORITHMS[number % 4];
                    daily(&format!("{count}-{number}"), 1_000).algorithm(algorithm)
                })
                .collect();
            let limiter = RateLimiter::new(redis.clone(), policies);
            limiter.check("alice").await.unwrap();
            let (counts, admitted) = server.count(admitted(&limiter, "alice", 20)).await;
            assert_eq!(admitted, 20);
            assert_eq!(
                (counts.of("evalsha"), counts.of("eval")),
                (20, 0),
                "{counts:?}"
            );
        }
    }
}

fn by_name(name: &'static str) -> impl Key {
    move |request: &Parts| {
        let value = request.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    }
}

/// Limits addresses to four requests and accounts to three.
fn two_keys(redis: Redis) -> RateLimitLayer<impl Key> {
    RateLimitLayer::new(redis, daily("address", 4))
        .by(by_name("x-address"))
        .and_by(by_name("x-account"), daily("account", 3))
        .fail_closed()
}

async fn send<K: Key>(layer: &RateLimitLayer<K>, address: &str, account: &str) -> Response<()> {
    let service = layer.layer(service_fn(async |_: Request<String>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let request = Request::get("/")
        .header("x-address", address)
        .header("x-account", account);
    let response = service
        .oneshot(request.body(String::new()).expect("as arranged"))
        .await
        .expect("as arranged");
    response.map(|_| ())
}

/// What two keys admit together, on any deployment.
async fn check_two_keys(redis: Redis) {
    let layer = two_keys(redis.clone()).no_denial_memory();
    for _ in 0..3 {
        assert_eq!(send(&layer, "a1", "u1").await.status(), OK);
    }
    // The account is at its end, and its denials cost the address nothing.
    for _ in 0..5 {
        let response = send(&layer, "a1", "u1").await;
        assert_eq!(response.status(), DENIED);
        let decision = response
            .extensions()
            .get::<Decision>()
            .expect("as arranged");
        assert_eq!(decision.standing().policy(), "account");
        assert_eq!(decision.standings().len(), 2);
    }
    let address = RateLimiter::new(redis.clone(), daily("address", 4));
    let account = RateLimiter::new(redis, daily("account", 3));
    assert_eq!(
        address.peek("a1").await.expect("as arranged").remaining(),
        1
    );
    assert_eq!(send(&layer, "a1", "u2").await.status(), OK);
    for _ in 0..5 {
        assert_eq!(send(&layer, "a1", "u2").await.status(), DENIED);
    }
    assert_eq!(
        account.peek("u2").await.expect("as arranged").remaining(),
        2
    );
    assert_eq!(send(&layer, "a2", "u2").await.status(), OK);
}

#[tokio::test]
async fn two_keys_in_one_command() {
    let server = Server::start();
    check_two_keys(patient(&server).await).await;
    let layer = two_keys(patient(&server).await);
    send(&layer, "a", "u").await;
    let (counts, response) = server.count(send(&layer, "b", "v")).await;
    assert_eq!(response.status(), OK);
    assert_eq!(
        (counts.of("evalsha"), counts.of("eval")),
        (1, 0),
        "{counts:?}"
    );
}

#[tokio::test]
async fn two_keys_in_a_cluster() {
    let cluster = Cluster::start().await;
    let redis = patient_in(&cluster).await;
    check_two_keys(redis.clone()).await;
    // Each denial was given back: keys of other subjects on other servers.
    let several = RateLimiter::new(redis, [daily("one", 9), daily("two", 5)]);
    assert_eq!(admitted(&several, "alice", 7).await, 5);
}

#[tokio::test]
async fn a_key_that_is_missing_is_left_out() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let layer = RateLimitLayer::new(redis, daily("address", 4))
        .by(by_name("x-address"))
        .and_by(by_name("x-nobody"), daily("nobody", 1))
        .fail_closed();
    let allow = layer.clone().missing_key_allow();
    for _ in 0..4 {
        assert_eq!(send(&allow, "a", "u").await.status(), OK);
    }
    assert_eq!(send(&allow, "a", "u").await.status(), DENIED);
    let deny = layer.clone().missing_key_deny();
    assert_eq!(
        send(&deny, "b", "u").await.status(),
        StatusCode::BAD_REQUEST
    );
    assert_eq!(send(&layer, "c", "u").await.status(), OK);
    assert_eq!(send(&layer, "d", "u").await.status(), DENIED);
}

#[tokio::test]
async fn another_algorithm_is_another_budget() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    for algorithm in ALGORITHMS {
        let limiter = RateLimiter::new(redis.clone(), Quota::per_day(2)).algorithm(algorithm);
        assert_eq!(admitted(&limiter, "alice", 4).await, 2, "{algorithm:?}");
    }
    let keys = keys(&admin, redis.namespace()).await;
    assert_eq!(keys.len(), ALGORITHMS.len());
    let slots = keys.iter().map(|key| key.split(['{', '}']).nth(1));
    assert!(
        slots
            .clone()
            .all(|tag| tag == slots.clone().next().unwrap())
    );
}

#[tokio::test]
async fn foreign_values_count_as_nothing() {
    let server = Server::shared();
    let admin = server.admin().await;
    let values: [(&str, &[&str]); 9] = [
        ("SET", &["garbage"]),
        ("SET", &["1:2:3"]),
        ("SET", &["99999999999999999:1"]),
        ("RPUSH", &["x"]),
        ("HSET", &["x", "y"]),
        ("SADD", &["x"]),
        ("ZADD", &["9e300", "garbage"]),
        ("ZADD", &["nan0"]),
        ("ZADD", &["99999999999999999999", "0000000000000009:3"]),
    ];
    for algorithm in &ALGORITHMS[1..] {
        let redis = patient(&server).await;
        let limiter = RateLimiter::new(redis.clone(), Quota::per_day(5)).algorithm(*algorithm);
        limiter.check("alice").await.unwrap();
        let key = only_key(&admin, redis.namespace()).await;
        for (name, arguments) in &values[..8] {
            if arguments == &["nan0"] {
                continue;
            }
            let _: i64 = command(&admin, "DEL", &[&key]).await;
            let arguments = [&[key.as_str()], *arguments].concat();
            let _: tower_fred::fred::types::Value = command(&admin, name, &arguments).await;
            let decision = limiter.check("alice").await.unwrap();
            let context = format!("{algorithm:?} {name} {arguments:?}");
            assert_eq!(
                (decision.is_allowed(), decision.remaining()),
                (true, 4),
                "{context}"
            );
            let left: i64 = command(&admin, "PTTL", &[&key]).await;
            assert!(left > 0, "{context}");
        }
        // A ring of the right length with anything in it: bounded, and no error.
        let ring = "\u{7f}".repeat(268);
        let _: i64 = command(&admin, "DEL", &[&key]).await;
        let _: String = command(&admin, "SET", &[&key, &ring]).await;
        let _ = limiter.check("alice").await.unwrap();
    }
}

#[tokio::test]
async fn every_key_has_an_end() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let quota = Quota::per_minute(700);
    for algorithm in ALGORITHMS {
        let policies = [
            Policy::new("x", quota).algorithm(algorithm),
            Policy::concurrency("y", 9),
        ];
        let limiter = RateLimiter::new(redis.clone(), policies);
        for cost in 1..9 {
            let decision = limiter.check_n(cost, cost).await.unwrap();
            assert!(decision.is_allowed());
            limiter.refund(cost, cost / 2).await.unwrap();
        }
    }
    for key in keys(&admin, redis.namespace()).await {
        let left: i64 = command(&admin, "PTTL", &[&key]).await;
        assert!((-2..=62_000).contains(&left) && left != -1, "{key}: {left}");
    }
}
