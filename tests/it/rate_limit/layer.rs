//! The layer as a tower service: readiness, what reaches the wrapped service, what a client is told.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::RETRY_AFTER, request::Parts};
use http_body_util::{BodyExt, Full};
use sfv::{BareItem, List, ListEntry, Parser};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer, Redis,
    rate_limit::{Decision, Quota},
};
use tower_test::mock;

use super::patient;
use crate::support::Server;

const FIVE: Quota = Quota::per_day(5);

/// Only what Redis decides shall count.
fn limit(redis: Redis, quota: Quota) -> RateLimitLayer {
    RateLimitLayer::new(redis, quota).fail_closed()
}

/// All requests count against one subject.
fn one(_: &Parts) -> Option<&'static str> {
    Some("everybody")
}

fn get() -> Request<String> {
    Request::new(String::new())
}

/// The items of all lines of a field: their names and their integer parameters.
fn items<B>(response: &Response<B>, field: &str) -> Vec<(String, Vec<(String, i64)>)> {
    let lines = response.headers().get_all(field).iter();
    let text = lines
        .map(|line| line.to_str().expect("text"))
        .collect::<Vec<_>>()
        .join(", ");
    let list: List = Parser::new(&text).parse().expect("a structured field");
    list.into_iter()
        .map(|entry| {
            let ListEntry::Item(item) = entry else {
                panic!("an inner list")
            };
            let BareItem::String(name) = item.bare_item else {
                panic!("not a string")
            };
            let parameters = item.params.into_iter().map(|(name, value)| {
                let BareItem::Integer(value) = value else {
                    panic!("not an integer")
                };
                (name.to_string(), value.into())
            });
            (name.to_string(), parameters.collect())
        })
        .collect()
}

/// `r` and `t` of the only item of `RateLimit`, which has this name.
fn standing<B>(response: &Response<B>, name: &str) -> (i64, i64) {
    let (found, parameters) = items(response, "ratelimit").remove(0);
    assert_eq!(found, name);
    match parameters.as_slice() {
        [(r, left), (t, window)] if r == "r" && t == "t" => (*left, *window),
        _ => panic!("{parameters:?}"),
    }
}

fn item(name: &str, parameters: &[(&str, i64)]) -> (String, Vec<(String, i64)>) {
    let parameters = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value));
    (name.to_owned(), parameters.collect())
}

#[tokio::test]
async fn every_response_tells_where_the_client_stands() {
    let server = Server::shared();
    let layer = limit(patient(&server).await, Quota::per_hour(5))
        .by(one)
        .name(r#"a "b" \c"#);
    let service = layer.layer(service_fn(async |_: Request<String>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("inner")))
    }));
    for left in (0..5).rev() {
        let response = service.clone().oneshot(get()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!response.headers().contains_key(RETRY_AFTER));
        let policy = item(r#"a "b" \c"#, &[("q", 5), ("w", 3_600)]);
        assert_eq!(items(&response, "ratelimit-policy"), [policy]);
        // r permits take r x 720 s to come back; when there is none, the next one takes a bit less than 720 s.
        let (r, t) = standing(&response, r#"a "b" \c"#);
        assert_eq!(r, left);
        match left {
            0 => assert!((600..=720).contains(&t), "{t}"),
            _ => assert_eq!(t, left * 720),
        }
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            "inner"
        );
    }

    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    // The request has no Accept.
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    assert_eq!(items(&response, "ratelimit-policy").len(), 1);
    let (r, t) = standing(&response, r#"a "b" \c"#);
    let retry = response.headers()[RETRY_AFTER].to_str().unwrap();
    let retry: i64 = retry.parse().unwrap();
    assert_eq!((r, t), (0, retry));
    let denial = response.extensions().get::<Decision>().unwrap();
    let wait = denial.retry_after().unwrap().as_secs_f64();
    assert!((600.0..=720.0).contains(&wait), "{wait}");
    assert_eq!(wait.ceil() as i64, retry);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"{"));
}

#[tokio::test]
async fn the_decision_is_in_the_extensions() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let (outer, inner) = (
        limit(redis.clone(), Quota::per_day(100))
            .by(one)
            .name("outer"),
        limit(redis, Quota::per_day(1)).by(one).name("inner"),
    );
    let service = ServiceBuilder::new()
        .layer(outer)
        .layer(inner)
        .service(service_fn(async |request: Request<String>| {
            let decision = request.extensions().get::<Decision>().unwrap();
            let text = decision.standing().policy().to_owned();
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text)))
        }));
    let response = service.clone().oneshot(get()).await.unwrap();
    let seen = |response: &Response<_>| response.extensions().get::<Decision>().unwrap().clone();
    assert_eq!(seen(&response).standing().policy(), "outer");
    for field in ["ratelimit", "ratelimit-policy"] {
        let names = items(&response, field).into_iter().map(|(name, _)| name);
        assert_eq!(names.collect::<Vec<_>>(), ["inner", "outer"]);
        // Two limits made two lines, of which many clients read only the first.
        assert_eq!(response.headers().get_all(field).iter().count(), 1);
    }
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "inner"
    );

    // The outer limit let it pass, but the response is about the denial within.
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(!seen(&response).is_allowed());
    assert_eq!(seen(&response).standing().policy(), "inner");
}

#[tokio::test]
async fn fields_of_the_inner_service_stay() {
    let server = Server::shared();
    let layer = limit(patient(&server).await, FIVE).by(one);
    let service = layer.layer(service_fn(async |_: Request<String>| {
        let response = Response::builder()
            .header("ratelimit", r#""default";r=1;t=9"#)
            .header("ratelimit-policy", r#""upstream";q=7"#);
        Ok::<_, Infallible>(response.body(String::new()).unwrap())
    }));
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(
        items(&response, "ratelimit"),
        [item("default", &[("r", 1), ("t", 9)])]
    );
    let policies = [
        item("upstream", &[("q", 7)]),
        item("default", &[("q", 5), ("w", 86_400)]),
    ];
    assert_eq!(items(&response, "ratelimit-policy"), policies);
}

#[tokio::test]
async fn the_inner_service_is_called_for_admitted_requests_only() {
    let calls = Arc::new(AtomicUsize::new(0));
    let server = Server::shared();
    let layer = limit(patient(&server).await, FIVE).by(one);
    let counter = Arc::clone(&calls);
    // It counts when it is called, not when its future runs.
    let service = layer.layer(service_fn(move |_: Request<String>| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, Infallible>(Response::new(String::new())) }
    }));
    let mut denied = 0;
    for _ in 0..12 {
        let response = service.clone().oneshot(get()).await.unwrap();
        denied += usize::from(response.status() == StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!((calls.load(Ordering::Relaxed), denied), (5, 7));
}

#[tokio::test]
async fn the_instance_that_was_made_ready_is_called() {
    let server = Server::shared();
    let layer = limit(patient(&server).await, FIVE).by(one);
    let (inner, mut handle) = mock::pair::<Request<String>, Response<String>>();
    let mut service = layer.layer(inner);
    // The mock panics when an instance is called that was not made ready.
    for left in (0..5).rev() {
        let response = service.ready().await.unwrap().call(get());
        let answer = async {
            let (request, send) = handle.next_request().await.unwrap();
            let decision = request.extensions().get::<Decision>().unwrap();
            assert_eq!(decision.remaining(), left);
            send.send_response(Response::new(String::new()));
        };
        let (response, ()) = tokio::join!(response, answer);
        assert_eq!(response.unwrap().status(), StatusCode::OK);
    }
    let response = service.ready().await.unwrap().call(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(handle.poll_request().is_pending());

    // Readiness is that of the wrapped service, and so are its errors.
    handle.send_error("broken");
    assert!(service.ready().await.is_err());
}

#[tokio::test]
async fn a_denial_gives_the_place_back() {
    let server = Server::shared();
    let layer = limit(patient(&server).await, Quota::per_day(2)).by(one);
    let mut service = ServiceBuilder::new()
        .layer(layer)
        .concurrency_limit(1)
        .service(service_fn(async |_: Request<String>| {
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
    let mut admitted = 0;
    for _ in 0..6 {
        let response = service.ready().await.unwrap().call(get()).await.unwrap();
        admitted += usize::from(response.status() == StatusCode::OK);
    }
    assert_eq!(admitted, 2);

    // Clones share the one place too.
    let (first, second) = (service.clone(), service.clone());
    let (first, second) = tokio::join!(first.oneshot(get()), second.oneshot(get()));
    assert!(first.is_ok() && second.is_ok());
}
