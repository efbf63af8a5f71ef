//! Budgets and the numbers of their policies: limits without a name, one name with two sets of numbers, numbers that
//! change.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use http::{Request, Response, StatusCode, request::Parts};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer, Redis,
    rate_limit::{Algorithm, Key, Policies, Policy, Quota, RateLimiter},
};

use crate::{
    rate_limit::{ALGORITHMS, command, only_key, patient, time},
    support::Server,
};

fn one(_: &Parts) -> Option<u64> {
    Some(1)
}

fn layer(redis: &Redis, policies: impl Into<Policies>) -> RateLimitLayer<impl Key + Clone> {
    RateLimitLayer::new(redis.clone(), policies)
        .by(one as fn(&Parts) -> Option<u64>)
        .fail_closed()
}

async fn admits<K: Key>(layer: &RateLimitLayer<K>) -> bool {
    let service = layer.layer(service_fn(async |_: Request<String>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let response = service.oneshot(Request::new(String::new())).await.unwrap();
    response.status() == StatusCode::OK
}

/// The large limit used to cut what is owed under the small one to a full burst of its own, and the small one the other way
/// round, since all limits without a name had one budget.
#[tokio::test]
async fn limits_without_names_have_budgets_of_their_own() {
    let server = Server::shared();
    for algorithm in ALGORITHMS {
        for (large, small) in [
            (Quota::per_day(5_000), Quota::per_day(5)),
            (Quota::per_day(5_000), Quota::per_day(5_000).burst(5)),
            (Quota::per_second(50), Quota::per_day(5)),
        ] {
            let redis = patient(&server).await;
            let all = layer(&redis, large).algorithm(algorithm).no_denial_memory();
            let login = layer(&redis, small).algorithm(algorithm).no_denial_memory();
            let mut logins = 0;
            for _ in 0..40 {
                if admits(&all).await {
                    logins += usize::from(admits(&login).await);
                }
            }
            // The log and the windows do not use the burst, so there the two are one quota.
            let expected = match small.permits() {
                5_000 if algorithm != Algorithm::Gcra => 40,
                _ => 5,
            };
            assert_eq!(logins, expected, "{algorithm:?} {large} {small}");
        }
    }
}

#[tokio::test]
async fn the_same_numbers_without_a_name_are_one_budget() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let (first, second) = (
        layer(&redis, Quota::per_day(2)),
        layer(&redis, Quota::per_day(2)),
    );
    assert!(admits(&first).await && admits(&second).await);
    assert!(!admits(&first).await);
    // A name makes it another budget, even the one that clients are told.
    assert!(admits(&layer(&redis, Quota::per_day(2)).name("default")).await);
}

/// Two layers of one name spent each other's permits, whatever their numbers.
#[tokio::test]
async fn one_name_with_two_sets_of_numbers_is_an_error() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let make = |policy: Policy| {
        let layer = layer(&redis, policy);
        let service = service_fn(async |_: Request<String>| Ok::<_, Infallible>(Response::new(())));
        catch_unwind(AssertUnwindSafe(move || layer.layer(service)))
    };
    let policy = || Policy::new("login", Quota::per_day(5));
    let first = make(policy()).expect("the first");
    let same = make(policy().shadow()).expect("the same numbers");
    for other in [
        Policy::new("login", Quota::per_day(6)),
        Policy::new("login", Quota::per_day(5).burst(9)),
        Policy::new("login", Quota::per_hour(5)),
    ] {
        let Err(told) = make(other) else {
            panic!("other numbers are accepted")
        };
        let told = told.downcast::<String>().expect("a text");
        assert!(told.contains("login: 5 per 86400s"), "{told}");
    }
    assert!(make(policy().algorithm(Algorithm::SlidingLog)).is_ok());
    assert!(make(Policy::concurrency("login", 3)).is_ok());
    // Another handle is another application.
    let elsewhere = layer(&patient(&server).await, Quota::per_day(9)).name("login");
    assert!(admits(&elsewhere).await);
    // Numbers change while no layer has the old ones.
    drop((first, same));
    assert!(make(Policy::new("login", Quota::per_day(6))).is_ok());
}

/// Who had used two of five was denied under a hundred: what was owed was read at the price of the new numbers.
#[tokio::test]
async fn what_was_used_counts_under_other_numbers() {
    let server = Server::shared();
    let week = Duration::from_secs(7 * 86_400);
    for algorithm in ALGORITHMS {
        for (before, used, after, left) in [
            (Quota::per_day(5), 2, Quota::per_day(100), 98),
            (Quota::per_day(5), 5, Quota::per_day(100), 95),
            (Quota::per_day(100), 2, Quota::per_day(5), 3),
            (Quota::per_day(100), 50, Quota::per_day(5), 0),
            (Quota::per_day(5), 2, Quota::new(5, week), 3),
            (Quota::per_day(5), 2, Quota::new(100, week).burst(100), 98),
            (Quota::per_day(7), 3, Quota::per_day(13), 10),
        ] {
            let redis = patient(&server).await;
            let limiter = |quota| {
                let policy = Policy::new("api", quota).algorithm(algorithm);
                RateLimiter::new(redis.clone(), policy).no_denial_memory()
            };
            let (old, new) = (limiter(before), limiter(after));
            assert!(old.check_n("ada", used).await.unwrap().is_allowed());
            let context = format!("{algorithm:?}: {used} of {before}, then {after}");
            for _ in 0..3 {
                // A look, and a denial: they leave what the old numbers say as it is.
                assert_eq!(
                    new.peek("ada").await.unwrap().remaining(),
                    left,
                    "{context}"
                );
                assert!(
                    !new.check_n("ada", u64::from(left) + 1)
                        .await
                        .unwrap()
                        .is_allowed(),
                    "{context}"
                );
            }
            let rest = u64::from(before.permits()) - used;
            assert_eq!(
                u64::from(old.peek("ada").await.unwrap().remaining()),
                rest,
                "{context}"
            );
            if left > 0 {
                assert!(
                    new.check_n("ada", u64::from(left))
                        .await
                        .unwrap()
                        .is_allowed(),
                    "{context}"
                );
            }
            assert!(!new.check("ada").await.unwrap().is_allowed(), "{context}");
        }
        // Only the burst.
        let redis = patient(&server).await;
        let limiter =
            |burst| RateLimiter::new(redis.clone(), Quota::per_day(5).burst(burst)).name("api");
        assert!(limiter(4).check_n("ada", 3).await.unwrap().is_allowed());
        assert_eq!(limiter(50).peek("ada").await.unwrap().remaining(), 47);
        assert_eq!(limiter(2).peek("ada").await.unwrap().remaining(), 0);
        assert_eq!(limiter(4).peek("ada").await.unwrap().remaining(), 1);
    }
}

/// What releases before this one stored has no numbers: it is read with those of the reader.
#[tokio::test]
async fn debts_without_numbers_are_still_owed() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let limiter = RateLimiter::new(redis.clone(), Quota::per_day(10))
        .name("api")
        .no_denial_memory();
    assert!(limiter.check("ada").await.unwrap().is_allowed());
    let key = only_key(&admin, redis.namespace()).await;
    // Four permits less a minute.
    let debt = 4 * 8_640_000_000_u64 - 60_000_000;
    for ticks in ["", ":0", ":7"] {
        let value = format!("{}{ticks}", time(&admin).await + debt);
        let _: String = command(&admin, "SET", &[&key, &value, "EX", "86400"]).await;
        assert_eq!(limiter.peek("ada").await.unwrap().remaining(), 6, "{ticks}");
        assert!(limiter.check_n("ada", 6).await.unwrap().is_allowed());
        assert!(!limiter.check("ada").await.unwrap().is_allowed());
    }
    // And such a release reads the time of what is stored now, as it ends with digits only.
    let value: String = command(&admin, "GET", &[&key]).await;
    let (micros, rest) = value.split_once(':').expect("numbers");
    assert!(micros.parse::<u64>().is_ok() && rest.bytes().all(|byte| byte.is_ascii_digit()));
}
