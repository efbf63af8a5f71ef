//! What the setters of the layer and the limiter do.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderName, Request, Response, StatusCode, request::Parts};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer, Redis,
    rate_limit::{Algorithm, Decision, Key, Policies, Policy, Quota, RateLimiter},
};

use super::patient;
use crate::support::{Server, server::until_served};

const OK: StatusCode = StatusCode::OK;
const DENIED: StatusCode = StatusCode::TOO_MANY_REQUESTS;
const TEN: Quota = Quota::per_day(10);

fn one(_: &Parts) -> Option<u64> {
    Some(1)
}

fn layer(redis: Redis, policies: impl Into<Policies>) -> RateLimitLayer<impl Key + Clone> {
    RateLimitLayer::new(redis, policies)
        .by(one as fn(&Parts) -> Option<u64>)
        .fail_closed()
}

/// Sends a request for a path; the service answers with the status that the path names, or 200.
async fn send<K: Key>(layer: &RateLimitLayer<K>, path: &str) -> Response<()> {
    let service = layer.layer(service_fn(async |request: Request<String>| {
        let status = request.uri().path().trim_start_matches('/').parse();
        let mut response = Response::new(String::new());
        *response.status_mut() = status.unwrap_or(StatusCode::OK);
        Ok::<_, Infallible>(response)
    }));
    let request = Request::get(path).body(String::new()).expect("as arranged");
    service.oneshot(request).await.unwrap().map(|_| ())
}

fn remaining(response: &Response<()>) -> u32 {
    response
        .extensions()
        .get::<Decision>()
        .expect("as arranged")
        .remaining()
}

#[tokio::test]
async fn costs() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let three = layer(redis.clone(), TEN).cost(3);
    let left =
        [send(&three, "/").await, send(&three, "/").await].map(|response| remaining(&response));
    assert_eq!(left, [7, 4]);

    let by_path = layer(redis.clone(), TEN).cost_by(|request| match request.uri.path() {
        "/export" => 4,
        "/huge" => u64::MAX,
        _ => 0,
    });
    // What costs nothing is told where it stands.
    assert_eq!(remaining(&send(&by_path, "/").await), 4);
    let huge = send(&by_path, "/huge").await;
    assert_eq!(huge.status(), StatusCode::BAD_REQUEST);
    assert!(!huge.headers().contains_key("retry-after"));
    assert_eq!(remaining(&send(&by_path, "/export").await), 0);
    assert_eq!(send(&by_path, "/export").await.status(), DENIED);
    assert_eq!(send(&by_path, "/").await.status(), OK);
}

#[tokio::test]
async fn only_some_responses_count() {
    let server = Server::start();
    for algorithm in [
        Algorithm::Gcra,
        Algorithm::SlidingLog,
        Algorithm::SlidingWindow,
        Algorithm::CalendarWindow,
    ] {
        let redis = patient(&server).await;
        let logins = layer(redis.clone(), Quota::per_day(3))
            .algorithm(algorithm)
            .policy(Policy::concurrency("at-once", 9))
            .count_when(|response| response.status == StatusCode::UNAUTHORIZED);
        for _ in 0..5 {
            assert_eq!(send(&logins, "/200").await.status(), OK);
        }
        for _ in 0..3 {
            let failed = send(&logins, "/401").await;
            assert_eq!(failed.status(), StatusCode::UNAUTHORIZED, "{algorithm:?}");
        }
        assert_eq!(
            send(&logins, "/200").await.status(),
            DENIED,
            "{algorithm:?}"
        );
    }
    // One command for what counts, two for what does not.
    let logins = layer(patient(&server).await, TEN).count_when(|response| response.status != OK);
    send(&logins, "/200").await;
    let (counts, _) = server.count(send(&logins, "/401")).await;
    assert_eq!(counts.of("evalsha"), 1, "{counts:?}");
    let (counts, _) = server.count(send(&logins, "/200")).await;
    assert_eq!(counts.of("evalsha"), 2, "{counts:?}");
}

#[tokio::test]
async fn what_cannot_be_given_back_does_not_harm_the_response() {
    let server = Arc::new(Server::start());
    let logins = layer(server.redis().await, TEN).count_when(|_| false);
    let killed = Arc::clone(&server);
    let service = logins.layer(service_fn(move |_: Request<String>| {
        killed.kill();
        async { Ok::<_, Infallible>(Response::new(String::new())) }
    }));
    let response = service.oneshot(Request::new(String::new())).await.unwrap();
    assert_eq!(response.status(), OK);
}

#[tokio::test]
async fn what_redis_did_not_count_is_not_given_back() {
    let server = Server::start();
    let redis = server.redis().await;
    let one: fn(&Parts) -> Option<u64> = |_| Some(1);
    let logins = RateLimitLayer::new(redis.clone(), TEN)
        .by(one)
        .count_when(|_| false);
    let limiter = RateLimiter::new(redis.clone(), TEN);
    // Counted within the process while Redis was silent, answered when it was back: it used to be given back there.
    server.kill();
    let (inner, mut handle) = tower_test::mock::pair::<Request<String>, Response<String>>();
    let mut service = logins.layer(inner);
    let response = service.ready().await.unwrap().call(Request::default());
    let answer = async {
        let (request, send) = handle.next_request().await.unwrap();
        assert!(request.extensions().get::<Decision>().is_some());
        server.restart();
        until_served(&redis).await;
        assert_eq!(limiter.check_n(1, 4).await.unwrap().remaining(), 6);
        send.send_response(Response::new(String::new()));
    };
    let (response, ()) = tokio::join!(response, answer);
    assert_eq!(response.unwrap().status(), OK);
    assert_eq!(limiter.peek(1).await.unwrap().remaining(), 6);
}

#[tokio::test]
async fn skipped_requests_are_not_counted_nor_told() {
    let server = Server::start();
    let layer = layer(patient(&server).await, Quota::per_day(1))
        .skip_when(|request| request.uri.path() == "/health");
    let (counts, response) = server.count(send(&layer, "/health")).await;
    assert_eq!((counts.total(), response.status()), (0, OK));
    assert!(response.headers().is_empty());
    assert!(response.extensions().get::<Decision>().is_none());
    assert_eq!(send(&layer, "/").await.status(), OK);
    assert_eq!(send(&layer, "/").await.status(), DENIED);
}

#[tokio::test]
async fn a_shadow_refuses_nothing_and_tells_no_client() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let shadow = layer(redis.clone(), Quota::per_day(2)).shadow();
    let mut exceeded = Vec::new();
    for _ in 0..4 {
        let response = send(&shadow, "/").await;
        assert_eq!(response.status(), OK);
        assert!(response.headers().is_empty(), "{:?}", response.headers());
        let decision = response.extensions().get::<Decision>().unwrap();
        exceeded.push(decision.standing().is_exceeded());
    }
    assert_eq!(exceeded, [false, false, true, true]);
    // It was counted as if it were enforced: by the same name it is.
    let enforced = layer(redis.clone(), Quota::per_day(2));
    assert_eq!(send(&enforced, "/").await.status(), DENIED);

    // One of two.
    let policies = [
        Policy::new("new", Quota::per_day(1)).shadow(),
        Policy::new("old", Quota::per_day(3)),
    ];
    let layer = layer(redis, policies);
    for _ in 0..3 {
        let response = send(&layer, "/").await;
        assert_eq!(response.status(), OK);
        let told = response.headers()["ratelimit"].to_str().unwrap();
        assert!(told.contains("old") && !told.contains("new"), "{told}");
    }
    let denied = send(&layer, "/").await;
    assert_eq!(denied.status(), DENIED);
    let decision = denied.extensions().get::<Decision>().unwrap();
    assert_eq!(decision.standing().policy(), "old");
    assert!(decision.standings()[0].is_exceeded());
}

#[derive(Clone)]
struct Paid;

#[tokio::test]
async fn tiers_and_the_history_of_those_who_change() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let paid = Policies::from(Quota::per_day(5));
    let layer = layer(redis, Quota::per_day(2)).policies_by(move |request| {
        let paid = paid.clone();
        request.extensions.get::<Paid>().map(|Paid| paid)
    });
    let ask = async |tier: Option<Paid>| {
        let service = layer.layer(service_fn(async |_: Request<String>| {
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
        let mut request = Request::new(String::new());
        if let Some(tier) = tier {
            request.extensions_mut().insert(tier);
        }
        service.oneshot(request).await.unwrap().status()
    };
    assert_eq!(
        [ask(None).await, ask(None).await, ask(None).await],
        [OK, OK, DENIED]
    );
    // Two of five are used. The denial under the other numbers says nothing about these.
    let mut admitted = 0;
    for _ in 0..9 {
        admitted += usize::from(ask(Some(Paid)).await == OK);
    }
    // By GCRA the debt of two small permits counted as that of five large ones, and nobody was admitted.
    assert_eq!(admitted, 3);
    assert_eq!(ask(None).await, DENIED);
}

#[tokio::test]
async fn quotas_that_are_looked_up_are_kept_for_a_while() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let name = HeaderName::from_static("x-tenant");
    let searches = Arc::new(AtomicUsize::new(0));
    let (counter, header) = (Arc::clone(&searches), name.clone());
    let found = move |keep| {
        let (counter, header) = (Arc::clone(&counter), header.clone());
        RateLimitLayer::new(redis.clone(), Quota::per_day(1))
            .by(tower_fred::rate_limit::Header::new(header.clone()))
            .fail_closed()
            .policies_from(keep, move |request: &Parts| {
                let tenant = request.headers[&header].to_str().unwrap().to_owned();
                let counter = Arc::clone(&counter);
                async move {
                    tokio::task::yield_now().await;
                    counter.fetch_add(1, Ordering::Relaxed);
                    let quota = tenant.strip_prefix("big")?.parse().ok()?;
                    Some(Policy::new("tenant", Quota::per_day(quota)).into())
                }
            })
    };
    let admitted = async |layer: &RateLimitLayer<_>, tenant: &str| {
        let mut admitted = 0;
        for _ in 0..6 {
            let service = layer.layer(service_fn(async |_: Request<String>| {
                Ok::<_, Infallible>(Response::new(String::new()))
            }));
            let request = Request::get("/").header(&name, tenant);
            let request = request.body(String::new()).unwrap();
            admitted += usize::from(service.oneshot(request).await.unwrap().status() == OK);
        }
        admitted
    };
    let kept = found(Duration::from_secs(3_600));
    assert_eq!(admitted(&kept, "big3").await, 3);
    assert_eq!(admitted(&kept, "big4").await, 4);
    // Nothing found: the layer's. That is kept too.
    assert_eq!(admitted(&kept, "small").await, 1);
    assert_eq!(searches.swap(0, Ordering::Relaxed), 3);
    let asked = found(Duration::ZERO);
    assert_eq!(admitted(&asked, "big5").await, 5);
    assert_eq!(searches.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn budgets_are_shared_by_name_only() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let named = |name| layer(redis.clone(), Quota::per_day(2)).name(name);
    let (search, export, again) = (named("search"), named("export"), named("search"));
    assert_eq!(remaining(&send(&search, "/").await), 1);
    assert_eq!(remaining(&send(&export, "/").await), 1);
    assert_eq!(remaining(&send(&again, "/").await), 0);
    assert_eq!(send(&search, "/").await.status(), DENIED);
    // A budget that several routes share beside their own.
    let daily = || Policy::new("daily", Quota::per_day(3));
    let first = named("first").policy(daily());
    let second = named("second").policy(daily());
    send(&first, "/").await;
    send(&first, "/").await;
    send(&second, "/").await;
    assert_eq!(send(&second, "/").await.status(), DENIED);
}

#[tokio::test]
async fn requests_wait_for_their_turn() {
    let server = Server::shared();
    let redis = patient(&server).await;
    // Twenty at once and two permits each 100 ms: all are admitted in the end, none of them early.
    let quota = Quota::new(2, Duration::from_millis(100));
    for algorithm in [
        Algorithm::Gcra,
        Algorithm::SlidingLog,
        Algorithm::CalendarWindow,
    ] {
        let waiting = RateLimiter::new(redis.clone(), quota)
            .algorithm(algorithm)
            .max_wait(Duration::from_secs(60));
        let impatient = RateLimiter::new(redis.clone(), quota)
            .algorithm(algorithm)
            .no_denial_memory();
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let waiting = waiting.clone();
                tokio::spawn(async move { waiting.check("alice").await.unwrap().is_allowed() })
            })
            .collect();
        for task in tasks {
            assert!(task.await.unwrap(), "{algorithm:?}");
        }
        // Nobody waits for more than there ever is, nor beyond the bound.
        assert!(!waiting.check_n("alice", 3).await.unwrap().is_allowed());
        let day = RateLimiter::new(redis.clone(), Quota::per_day(1))
            .name("day")
            .max_wait(Duration::from_secs(60));
        assert!(
            day.check(format!("{algorithm:?}"))
                .await
                .unwrap()
                .is_allowed()
        );
        assert!(
            !day.check(format!("{algorithm:?}"))
                .await
                .unwrap()
                .is_allowed()
        );
        let _ = impatient;
    }
}

#[tokio::test]
async fn the_object_peeks_refunds_and_resets() {
    let server = Server::shared();
    for algorithm in [
        Algorithm::Gcra,
        Algorithm::SlidingLog,
        Algorithm::SlidingWindow,
        Algorithm::CalendarWindow,
    ] {
        let limiter =
            RateLimiter::new(patient(&server).await, Quota::per_day(5)).algorithm(algorithm);
        for _ in 0..3 {
            let peeked = limiter.peek("alice").await.unwrap();
            assert_eq!(
                (peeked.is_allowed(), peeked.remaining()),
                (true, 5),
                "{algorithm:?}"
            );
        }
        assert!(limiter.check_n("alice", 5).await.unwrap().is_allowed());
        assert!(!limiter.peek("alice").await.unwrap().is_allowed());
        // The denial is remembered, and a refund or a reset ends that.
        assert!(!limiter.check("alice").await.unwrap().is_allowed());
        limiter.refund("alice", 2).await.unwrap();
        assert_eq!(
            limiter.check("alice").await.unwrap().remaining(),
            1,
            "{algorithm:?}"
        );
        limiter.refund("alice", u64::MAX).await.unwrap();
        assert_eq!(
            limiter.peek("alice").await.unwrap().remaining(),
            5,
            "{algorithm:?}"
        );
        assert!(limiter.check_n("alice", 5).await.unwrap().is_allowed());
        assert!(!limiter.check("alice").await.unwrap().is_allowed());
        limiter.reset("alice").await.unwrap();
        assert_eq!(
            limiter.check("alice").await.unwrap().remaining(),
            4,
            "{algorithm:?}"
        );
    }
}
