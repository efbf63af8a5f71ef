//! How long requests wait for each other, and which do not.

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use tokio::time::timeout;
use tower::{Layer, ServiceExt};
use tower_fred::CacheLayer;

use super::gate::{Gate, PATIENCE, numbered, read, redis, settle};
use crate::cache::{is_hit, reply, request, status};

#[tokio::test]
async fn a_purge_beats_an_answer_that_is_being_made() {
    let (_server, redis) = redis().await;
    let gate = Gate::new();
    let layer = CacheLayer::new(redis.clone());
    let service = layer.layer(gate.service(numbered));
    let url = "http://shop.example/".parse().expect("a URL");
    // The log has to be there, else nothing is known of before.
    layer.purge().url(&url).await.expect("purged");
    let old = tokio::spawn(service.clone().oneshot(request("GET", "/", &[])));
    gate.called(1).await;
    layer.purge().url(&url).await.expect("purged");
    gate.open.add_permits(1);
    let answer = timeout(PATIENCE, old)
        .await
        .expect("in time")
        .expect("no panic");
    assert_eq!(read(answer.expect("an answer")).await.expect("a body"), "1");
    settle(&redis).await;
    gate.open.add_permits(1);
    let new = service
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer");
    assert!(!is_hit(&new));
    assert_eq!(read(new).await.expect("a body"), "2");
}

#[tokio::test]
async fn a_client_that_wants_a_new_answer_waits_for_nobody() {
    let (_server, redis) = redis().await;
    let gate = Gate::new();
    let service = CacheLayer::new(redis.clone()).layer(gate.service(numbered));
    let fields = [
        ("authorization", "Bearer a"),
        ("range", "bytes=0-0"),
        ("if-none-match", "\"a\""),
        ("cache-control", "no-store"),
    ];
    let first = tokio::spawn(service.clone().oneshot(request("GET", "/", &[])));
    gate.called(1).await;
    let others: Vec<_> = fields
        .iter()
        .map(|field| tokio::spawn(service.clone().oneshot(request("GET", "/", &[*field]))))
        .collect();
    gate.called(5).await;
    gate.open.add_permits(5);
    for answer in timeout(PATIENCE, join_all(others)).await.expect("in time") {
        let answer = answer.expect("no panic").expect("an answer");
        assert!(!status(&answer).is_collapsed());
    }
    first.await.expect("no panic").expect("an answer");
}

/// The next client waited for 20 s, and those of another process for 10 s.
#[tokio::test]
async fn a_request_that_makes_no_progress_holds_nobody_for_long() {
    let (_server, redis) = redis().await;
    for path in ["/handler", "/body"] {
        let gate = Gate::new();
        let service = gate.service(|_| {
            let parts = stream::iter(["one ", "two"]);
            let parts = parts.map(|part| Ok::<_, Infallible>(Bytes::from(part)));
            let fields = [("cache-control", "max-age=60")];
            Ok::<_, Infallible>(reply(&fields, Body::from_stream(parts)))
        });
        let here = CacheLayer::new(redis.clone()).layer(service.clone());
        let there = CacheLayer::new(redis.clone()).layer(service);
        let mut first = Box::pin(here.clone().oneshot(request("GET", path, &[])));
        tokio::select! {
            biased;
            _ = &mut first => panic!("the gate is closed"),
            () = gate.called(1) => {}
        }
        // Its handler is not polled any more, or its body is not read.
        let mut unread = None;
        if path == "/body" {
            gate.open.add_permits(1);
            unread = Some(first.as_mut().await.expect("an answer").into_body());
        }
        gate.open.add_permits(20);
        let others = [&here, &here, &there, &there];
        let others = others.map(|service| async {
            let response = service.clone().oneshot(request("GET", path, &[])).await;
            read(response.expect("an answer")).await.expect("a body")
        });
        let bodies = timeout(Duration::from_secs(8), join_all(others));
        let bodies = bodies.await.expect("within a second or two");
        assert!(bodies.iter().all(|body| body == "one two"), "{path}");
        drop(unread);
    }
}

/// They waited for one another, as each process waited for the lease of the one before.
#[tokio::test]
async fn in_other_processes_too_nobody_takes_turns_when_nothing_is_stored() {
    let (_server, redis) = redis().await;
    for path in ["/fails", "/private"] {
        let gate = Gate::new();
        let service = gate.service(move |number| match path {
            "/fails" => Err("down"),
            _ => Ok(reply(&[("cache-control", "private")], number.to_string())),
        });
        let stores: Vec<_> = (0..4)
            .map(|_| CacheLayer::new(redis.clone()).layer(service.clone()))
            .collect();
        let ask = |number: usize| {
            tokio::spawn(
                stores[number % 4]
                    .clone()
                    .oneshot(request("GET", path, &[])),
            )
        };
        let first = ask(0);
        gate.called(1).await;
        let others: Vec<_> = (0..12).map(ask).collect();
        // Until all of them wait for it, in Redis too. No event tells that they do.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(gate.calls(), 1, "{path}");
        gate.open.add_permits(1);
        // All ask before any of them has an answer.
        let called = timeout(Duration::from_secs(8), gate.called(13)).await;
        called.expect("all at once");
        gate.open.add_permits(12);
        let answers = timeout(PATIENCE, join_all(others)).await.expect("answers");
        let fail = |answer: Result<Result<_, _>, _>| answer.expect("no panic").is_err();
        assert!(
            answers
                .into_iter()
                .all(|answer| fail(answer) == (path == "/fails"))
        );
        assert_eq!(fail(first.await), path == "/fails");
    }
}

/// 64 slow ones, and no other entry was ever made anew.
#[tokio::test]
async fn slow_refreshes_leave_others_their_turn() {
    let (server, redis) = redis().await;
    let gate = Gate::new();
    let stale = |number: usize| {
        let fields = [("cache-control", "max-age=1, stale-while-revalidate=600")];
        Ok::<_, Infallible>(reply(&fields, number.to_string()))
    };
    let layer = CacheLayer::new(redis.clone()).background_refreshes(2);
    let service = layer.layer(gate.service(stale));
    let ask = async |number: usize| {
        let path = format!("/{number}");
        let response = service.clone().oneshot(request("GET", &path, &[])).await;
        read(response.expect("an answer")).await.expect("a body");
    };
    gate.open.add_permits(6);
    for number in 0..6 {
        ask(number).await;
    }
    settle(&redis).await;
    crate::cache::travel(&server, &redis, Duration::from_secs(2)).await;
    for number in (0..6).cycle().take(18) {
        ask(number).await;
    }
    gate.called(8).await;
    settle(&redis).await;
    assert_eq!(gate.calls(), 8);
    gate.open.add_permits(6);
    gate.called(12).await;
}
