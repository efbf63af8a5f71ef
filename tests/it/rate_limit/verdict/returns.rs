//! Permits that come back, and denials that do not know of them.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Request, Response, StatusCode, request::Parts};
use tokio::{sync::Semaphore, task::JoinSet};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer, Redis,
    rate_limit::{Algorithm, Header, Key, Policy, Quota, RateLimiter},
};

use crate::{
    rate_limit::{ALGORITHMS, another, patient, patient_in},
    support::{Server, patiently, topology::Cluster, until},
};

const OK: StatusCode = StatusCode::OK;
const DENIED: StatusCode = StatusCode::TOO_MANY_REQUESTS;

fn one(_: &Parts) -> Option<u64> {
    Some(1)
}

/// Counts failed logins; all succeed.
fn logins(redis: &Redis, algorithm: Algorithm) -> RateLimitLayer<impl Key + Clone + use<>> {
    RateLimitLayer::new(redis.clone(), Quota::per_day(5))
        .algorithm(algorithm)
        .by(one as fn(&Parts) -> Option<u64>)
        .fail_closed()
        .count_when(|response| response.status == StatusCode::UNAUTHORIZED)
}

/// Logs in; the answer comes when the gate is open.
async fn log_in<K: Key>(
    layer: RateLimitLayer<K>,
    gate: Arc<Semaphore>,
) -> (StatusCode, Option<u64>) {
    let service = layer.layer(service_fn(move |_: Request<String>| {
        let gate = Arc::clone(&gate);
        async move {
            let _open = gate.acquire().await;
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    }));
    let response = service.oneshot(Request::new(String::new())).await.unwrap();
    let wait = response.headers().get("retry-after");
    let wait = wait.map(|wait| wait.to_str().expect("text").parse().expect("seconds"));
    (response.status(), wait)
}

/// A denial was remembered for a minute though all permits were back by the time of its answer, and it said to wait for the
/// time that one permit takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_fail_are_not_locked_out() {
    let server = Server::shared();
    for algorithm in ALGORITHMS {
        for round in 0..5 {
            let redis = patient(&server).await;
            let layer = logins(&redis, algorithm);
            let gate = Arc::new(Semaphore::new(0));
            let mut all = JoinSet::new();
            for _ in 0..6 + round * 3 {
                all.spawn(log_in(layer.clone(), Arc::clone(&gate)));
            }
            let mut denied = 0;
            while denied < 1 + round * 3 {
                let (status, wait) = all.join_next().await.expect("the others wait").unwrap();
                assert_eq!((status, wait), (DENIED, Some(1)), "{algorithm:?}");
                denied += 1;
            }
            gate.add_permits(1_000);
            while let Some(answer) = all.join_next().await {
                assert_eq!(answer.unwrap().0, OK);
            }
            for _ in 0..8 {
                let (status, _) = log_in(layer.clone(), Arc::clone(&gate)).await;
                assert_eq!(status, OK, "{algorithm:?}");
            }
        }
    }
}

/// Another process gave the permits back, and nobody told this one.
#[tokio::test]
async fn a_denial_is_short_where_other_processes_give_permits_back() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let (here, there) = (redis.clone(), another(&server, &redis).await);
    let [here, there] = [here, there].map(|redis| logins(&redis, Algorithm::Gcra));
    let gate = Arc::new(Semaphore::new(0));
    let open = Arc::new(Semaphore::new(1_000));
    let mut all = JoinSet::new();
    for _ in 0..6 {
        all.spawn(log_in(there.clone(), Arc::clone(&gate)));
    }
    // One of the six is denied, so the others are counted.
    assert_eq!(all.join_next().await.expect("six").unwrap().0, DENIED);
    assert_eq!(log_in(here.clone(), Arc::clone(&open)).await.0, DENIED);
    gate.add_permits(1_000);
    while let Some(answer) = all.join_next().await {
        assert_eq!(answer.unwrap().0, OK);
    }
    let returned = Instant::now();
    let admitted = async {
        while log_in(here.clone(), Arc::clone(&open)).await.0 == DENIED {
            // Nobody tells this process of the permits: the denial that it remembers ends by time alone.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    patiently("an admission", admitted).await;
    assert!(returned.elapsed() < Duration::from_secs(20));
}

/// Who fails is told how long to wait.
#[tokio::test]
async fn a_denial_that_waits_for_no_answer_says_when_a_permit_is_back() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let layer = logins(&redis, Algorithm::Gcra).count_when(|_| true);
    let open = Arc::new(Semaphore::new(1_000));
    for _ in 0..5 {
        assert_eq!(log_in(layer.clone(), Arc::clone(&open)).await.0, OK);
    }
    for _ in 0..3 {
        let (status, wait) = log_in(layer.clone(), Arc::clone(&open)).await;
        assert_eq!(status, DENIED);
        assert!(wait.unwrap() > 10_000, "{wait:?}");
    }
}

/// A refund or a reset by another limiter of this process left the denials of the first as they were.
#[tokio::test]
async fn what_another_limiter_gives_back_ends_a_denial() {
    let server = Server::shared();
    for algorithm in ALGORITHMS {
        let redis = patient(&server).await;
        let limiter = || {
            let policy = Policy::new("mails", Quota::per_day(5)).algorithm(algorithm);
            RateLimiter::new(redis.clone(), policy)
        };
        let (asks, gives) = (limiter(), limiter());
        assert!(asks.check_n("ada", 5).await.unwrap().is_allowed());
        assert!(!asks.check("ada").await.unwrap().is_allowed());
        gives.refund("ada", 1).await.unwrap();
        assert!(
            asks.check("ada").await.unwrap().is_allowed(),
            "{algorithm:?}"
        );
        assert!(!asks.check("ada").await.unwrap().is_allowed());
        gives.reset("ada").await.unwrap();
        assert!(
            asks.check("ada").await.unwrap().is_allowed(),
            "{algorithm:?}"
        );
        // What was taken in advance is given back too.
        let batches = limiter().local_batch(50);
        assert!(batches.check_n("ada", 2).await.unwrap().is_allowed());
        while batches.check("ada").await.unwrap().is_allowed() {}
        gives.reset("ada").await.unwrap();
        assert!(
            batches.check("ada").await.unwrap().is_allowed(),
            "{algorithm:?}"
        );
    }
}

/// In a cluster each subject has a call of its own. A caller that went away in between left what they had granted counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_waits_for_is_given_back_in_a_cluster() {
    let cluster = Cluster::start().await;
    let redis = patient_in(&cluster).await;
    let many = |name| Policy::new(name, Quota::per_day(1_000));
    let header = |name| Header::new(http::HeaderName::from_static(name));
    let layer = RateLimitLayer::new(redis.clone(), many("address"))
        .by(header("x-address"))
        .and_by(header("x-account"), many("account"))
        .fail_closed();
    let (mut admitted, mut gone) = (0, 0);
    for pause in (0..400).chain(0..400) {
        let service = layer.layer(service_fn(async |_: Request<String>| {
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
        let request = Request::get("/")
            .header("x-address", "a")
            .header("x-account", "u");
        let answer = service.oneshot(request.body(String::new()).unwrap());
        // A timer has milliseconds, which is too coarse here.
        let leaves = Instant::now() + Duration::from_micros(pause * 5);
        tokio::select! {
            biased;
            response = answer => {
                assert_eq!(response.unwrap().status(), OK);
                admitted += 1;
            }
            () = async { while Instant::now() < leaves { tokio::task::yield_now().await } } => gone += 1,
        }
    }
    assert!(gone > 20, "{gone} of {admitted}");
    let limiters = [("address", "a"), ("account", "u")]
        .map(|(policy, value)| (RateLimiter::new(redis.clone(), many(policy)), value));
    let name = |key: &str| {
        http::HeaderName::from_static(if key == "a" { "x-address" } else { "x-account" })
    };
    for (limiter, value) in limiters {
        let request = Request::get("/")
            .header(name(value), value)
            .body(String::new())
            .unwrap()
            .into_parts()
            .0;
        let identity = Header::new(name(value)).identity(&request).unwrap();
        until("what nobody waited for", async || {
            limiter.peek(identity).await.unwrap().remaining() == 1_000 - admitted
        })
        .await;
    }
}
