//! What a denied client is told, and in which words.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full};
use sfv::{BareItem, List, ListEntry, Parser};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer, Redis,
    rate_limit::{Dialect, Key, Policies, Policy, Quota},
};

use crate::{rate_limit::patient, support::Server};

fn layer(redis: Redis, policies: impl Into<Policies>) -> RateLimitLayer<impl Key + Clone> {
    let one: fn(&Parts) -> Option<u64> = |_| Some(1);
    RateLimitLayer::new(redis, policies).by(one).fail_closed()
}

async fn send<K: Key>(layer: &RateLimitLayer<K>, accept: &str) -> Response<Bytes> {
    let service = layer.layer(service_fn(async |_: Request<String>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("inner")))
    }));
    let request = Request::get("/").header(header::ACCEPT, accept);
    let response = service
        .oneshot(request.body(String::new()).expect("as arranged"))
        .await
        .expect("as arranged");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(parts, body)
}

/// The names of the items of a field.
fn names(response: &Response<Bytes>, field: &str) -> Vec<String> {
    let lines = response.headers().get_all(field).iter();
    let text = lines
        .map(|line| line.to_str().expect("as arranged"))
        .collect::<Vec<_>>()
        .join(", ");
    let list: List = Parser::new(&text).parse().expect("a structured field");
    let name = |entry| match entry {
        ListEntry::Item(item) => match item.bare_item {
            BareItem::String(name) => name.to_string(),
            other => panic!("{other:?}"),
        },
        ListEntry::InnerList(_) => panic!("an inner list"),
    };
    list.into_iter().map(name).collect()
}

fn several() -> Policies {
    Policies::from([
        Policy::new("burst", Quota::per_day(1)),
        Policy::new("a \"b\" \\", Quota::per_day(1)),
        Policy::concurrency("at-once", 4),
        Policy::new("daily", Quota::per_day(9)),
    ])
}

#[tokio::test]
async fn every_policy_is_listed() {
    let server = Server::shared();
    let layer = layer(patient(&server).await, several());
    for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        let response = send(&layer, "*/*").await;
        assert_eq!(response.status(), status);
        for field in ["ratelimit", "ratelimit-policy"] {
            let expected = ["burst", "a \"b\" \\", "at-once", "daily"];
            assert_eq!(names(&response, field), expected, "{field}");
        }
    }
}

#[tokio::test]
async fn problems_for_those_who_take_them() {
    let server = Server::shared();
    let layer = layer(patient(&server).await, several());
    send(&layer, "*/*").await;
    for accept in ["application/problem+json", "application/json", "*/*"] {
        let response = send(&layer, accept).await;
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
        let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        let kind = "https://iana.org/assignments/http-problem-types#quota-exceeded";
        assert_eq!(
            (&problem["type"], &problem["status"]),
            (&kind.into(), &429.into())
        );
        let violated = serde_json::json!(["burst", "a \"b\" \\"]);
        assert_eq!(problem["violated-policies"], violated);
    }
    for accept in ["text/plain", "text/html, */*;q=0.8"] {
        let response = send(&layer, accept).await;
        assert_eq!(response.body(), "too many requests\n");
    }
}

/// A request that never passes was answered with 429: clients repeated it at once.
#[tokio::test]
async fn a_cost_above_the_limit_is_not_too_many_requests() {
    let server = Server::shared();
    let layer = layer(patient(&server).await, Quota::per_day(5)).cost(6);
    let too_large = StatusCode::PAYLOAD_TOO_LARGE;
    for (layer, status) in [
        (layer.clone(), StatusCode::BAD_REQUEST),
        (layer.clone().permanent_denial_status(too_large), too_large),
    ] {
        // The second answer may be repeated by this process.
        for _ in 0..2 {
            let response = send(&layer, "application/json").await;
            assert_eq!(response.status(), status);
            assert!(!response.headers().contains_key(header::RETRY_AFTER));
            assert_eq!(names(&response, "ratelimit"), ["default"]);
            let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(problem["status"], status.as_u16());
            assert_eq!(problem["violated-policies"], serde_json::json!(["default"]));
            let text = send(&layer, "text/plain").await;
            assert!(text.body().starts_with(b"the request costs more"));
        }
    }
    // What passes later is told so.
    let layer = layer.cost(5);
    assert_eq!(send(&layer, "*/*").await.status(), StatusCode::OK);
    let response = send(&layer, "*/*").await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
}

#[tokio::test]
#[should_panic(expected = "a denial is an error")]
async fn a_permanent_denial_is_an_error() {
    let server = Server::shared();
    let layer = layer(server.redis().await, Quota::per_day(5));
    let _ = layer.permanent_denial_status(StatusCode::OK);
}

#[tokio::test]
async fn a_problem_when_there_is_no_telling() {
    let server = Server::start();
    let layer = layer(server.redis().await, several());
    server.kill();
    let response = send(&layer, "application/json").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    let kind = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
    assert_eq!(
        (&problem["type"], &problem["status"]),
        (&kind.into(), &503.into())
    );
}

#[tokio::test]
async fn dialects_by_choice() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let quota = Quota::per_day(2);
    let numbers = |response: &Response<Bytes>| {
        [
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
        ]
        .map(|field| {
            let value = response.headers().get(field);
            value.map_or(-1, |value| value.to_str().unwrap().parse::<i64>().unwrap())
        })
    };
    let delta = layer(redis.clone(), quota)
        .name("delta")
        .headers([Dialect::LegacyDelta]);
    let response = send(&delta, "*/*").await;
    let [limit, remaining, reset] = numbers(&response);
    assert_eq!((limit, remaining), (2, 1));
    assert!((43_100..=43_200).contains(&reset), "{reset}");
    assert!(!response.headers().contains_key("ratelimit"));

    let both = [Dialect::Draft11, Dialect::LegacyEpoch];
    let epoch = layer(redis.clone(), quota).name("epoch").headers(both);
    let response = send(&epoch, "*/*").await;
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs() as i64;
    let reset = numbers(&response)[2] - now;
    assert!((43_000..=43_300).contains(&reset), "{reset}");
    assert_eq!(names(&response, "ratelimit"), ["epoch"]);

    let none = layer(redis, quota).name("none").headers([]);
    for _ in 0..2 {
        assert!(send(&none, "*/*").await.headers().is_empty());
    }
    let denied = send(&none, "*/*").await;
    assert!(denied.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(numbers(&denied), [-1; 3]);
}

#[tokio::test]
async fn a_rejection_of_ones_own() {
    let server = Server::shared();
    let layer = layer(patient(&server).await, Quota::per_day(1)).rejection(|request, decision| {
        let text = format!("{} {:?}", request.uri, decision.standing().policy());
        let response = Response::builder()
            .status(StatusCode::FORBIDDEN)
            .header("x-own", "yes");
        response.body(Bytes::from(text)).unwrap()
    });
    assert_eq!(send(&layer, "*/*").await.body(), "inner");
    let response = send(&layer, "*/*").await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(response.body(), "/ \"default\"");
    assert_eq!(response.headers()["x-own"], "yes");
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(names(&response, "ratelimit"), ["default"]);
}

mod fields {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn any_name_is_a_structured_field() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (_server, redis) = runtime.block_on(async {
            let server = Server::shared();
            let redis = patient(&server).await;
            (server, redis)
        });
        proptest!(ProptestConfig::with_cases(60), |(names_of in prop::collection::hash_set("[ -~]{1,20}", 1..4))| {
            let policies: Vec<Policy> = names_of.iter().map(|name| Policy::new(name, Quota::per_day(5))).collect();
            let expected: Vec<String> = policies.iter().map(|policy| policy.name().to_owned()).collect();
            let response = runtime.block_on(send(&layer(redis.clone(), policies), "*/*"));
            prop_assert_eq!(names(&response, "ratelimit"), expected.clone());
            prop_assert_eq!(names(&response, "ratelimit-policy"), expected);
        });
    }
}
