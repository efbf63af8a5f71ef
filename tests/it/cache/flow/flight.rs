//! Of several requests for the same answer, one asks the handler.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use http::Request;
use http_body_util::BodyExt;
use tokio::time::timeout;
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::CacheLayer;

use super::gate::{Gate, PATIENCE, numbered, read, redis, settle};
use crate::cache::{is_hit, reply, request, status};

#[tokio::test]
async fn one_asks_for_all() {
    let (_server, redis) = redis().await;
    let gate = Gate::new();
    let service = CacheLayer::new(redis.clone()).layer(gate.service(numbered));
    let requests = (0..100).map(|_| {
        let service = service.clone();
        tokio::spawn(async move {
            let response = service
                .oneshot(request("GET", "/", &[]))
                .await
                .expect("an answer");
            let collapsed = status(&response).is_collapsed();
            (collapsed, read(response).await.expect("a body"))
        })
    });
    let requests: Vec<_> = requests.collect();
    gate.called(1).await;
    settle(&redis).await;
    gate.open.add_permits(1);
    let answers = timeout(PATIENCE, join_all(requests))
        .await
        .expect("answers");
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect("no panic"))
        .collect();
    assert!(answers.iter().all(|(_, body)| body == "1"));
    assert!(answers.iter().filter(|(collapsed, _)| *collapsed).count() > 90);
    assert_eq!(gate.calls(), 1);
}

#[tokio::test]
async fn one_asks_for_all_who_want_the_same_variant() {
    let (_server, redis) = redis().await;
    let gate = Gate::new();
    let varying = |_| {
        let fields = [("cache-control", "max-age=60"), ("vary", "foo")];
        Ok::<_, Infallible>(reply(&fields, "x"))
    };
    let service = CacheLayer::new(redis.clone()).layer(gate.service(varying));
    let requests: Vec<_> = (0..60)
        .map(|number| {
            let foo = (number % 3).to_string();
            let asked = request("GET", "/", &[("foo", &foo)]);
            let service = service.clone();
            tokio::spawn(
                async move { read(service.oneshot(asked).await.expect("an answer")).await },
            )
        })
        .collect();
    gate.called(1).await;
    settle(&redis).await;
    gate.open.add_permits(60);
    for answer in timeout(PATIENCE, join_all(requests))
        .await
        .expect("answers")
    {
        assert_eq!(answer.expect("no panic").expect("a body"), "x");
    }
    assert!(gate.calls() <= 4, "{}", gate.calls());
}

#[tokio::test]
async fn what_is_not_storable_is_given_to_nobody_else_and_holds_nobody_up() {
    let (_server, redis) = redis().await;
    let gate = Gate::new();
    let private = |number: usize| {
        let cookie = format!("sid={number}");
        let fields = [("cache-control", "max-age=60"), ("set-cookie", &*cookie)];
        Ok::<_, Infallible>(reply(&fields, number.to_string()))
    };
    let service = CacheLayer::new(redis.clone()).layer(gate.service(private));
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move {
                let response = service
                    .oneshot(request("GET", "/", &[]))
                    .await
                    .expect("an answer");
                let cookie = response.headers()["set-cookie"].clone();
                assert!(!status(&response).is_collapsed());
                (cookie, read(response).await.expect("a body"))
            })
        })
        .collect();
    gate.called(1).await;
    gate.open.add_permits(1);
    // All the others ask at the same time: none waits for another one's answer.
    gate.called(50).await;
    gate.open.add_permits(49);
    let mut bodies = Vec::new();
    for answer in timeout(PATIENCE, join_all(requests))
        .await
        .expect("answers")
    {
        let (cookie, body) = answer.expect("no panic");
        assert_eq!(cookie, format!("sid={}", String::from_utf8_lossy(&body)));
        bodies.push(body);
    }
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 50);
}

#[tokio::test]
async fn a_client_that_leaves_hands_over() {
    let (_server, redis) = redis().await;
    let gate = Gate::new();
    let service = CacheLayer::new(redis.clone()).layer(gate.service(numbered));
    let first = tokio::spawn(service.clone().oneshot(request("GET", "/", &[])));
    gate.called(1).await;
    let second = tokio::spawn(service.clone().oneshot(request("GET", "/", &[])));
    settle(&redis).await;
    assert_eq!(gate.calls(), 1);
    first.abort();
    gate.called(2).await;
    gate.open.add_permits(1);
    let answer = timeout(PATIENCE, second)
        .await
        .expect("in time")
        .expect("no panic");
    assert_eq!(read(answer.expect("an answer")).await.expect("a body"), "2");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_body_leaves_no_half_of_it() {
    let (_server, redis) = redis().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let halves = service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let parts =
            stream::iter(["one ", "two"]).map(|part| Ok::<_, Infallible>(Bytes::from(part)));
        let response = reply(&[("cache-control", "max-age=60")], Body::from_stream(parts));
        async { Ok::<_, Infallible>(response) }
    });
    let service = CacheLayer::new(redis.clone()).layer(halves);
    let mut left = service
        .clone()
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer")
        .into_body();
    left.frame().await.expect("a frame").expect("data");
    let waiting = tokio::spawn(service.clone().oneshot(request("GET", "/", &[])));
    settle(&redis).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    drop(left);
    let answer = timeout(PATIENCE, waiting)
        .await
        .expect("in time")
        .expect("no panic");
    assert_eq!(
        read(answer.expect("an answer")).await.expect("a body"),
        "one two"
    );
    settle(&redis).await;
    let hit = service
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer");
    assert!(is_hit(&hit));
    assert_eq!(read(hit).await.expect("a body"), "one two");
}

#[tokio::test]
async fn a_slow_reader_gets_all_and_nobody_waits_for_it() {
    let (_server, redis) = redis().await;
    let parts = || {
        stream::iter(["one ", "two ", "three"]).then(|part| async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(Bytes::from(part))
        })
    };
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let streaming = service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let response = reply(
            &[("cache-control", "max-age=60")],
            Body::from_stream(parts()),
        );
        async { Ok::<_, Infallible>(response) }
    });
    let service = CacheLayer::new(redis.clone()).layer(streaming);
    let mut slow = service
        .clone()
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer")
        .into_body();
    let mut begin = Vec::new();
    while begin.len() < 4 {
        let frame = slow.frame().await.expect("a frame").expect("data");
        begin.extend(frame.into_data().expect("data"));
    }
    let waiting: Vec<_> = (0..10)
        .map(|_| tokio::spawn(service.clone().oneshot(request("GET", "/", &[]))))
        .collect();
    for answer in timeout(PATIENCE, join_all(waiting)).await.expect("in time") {
        let answer = answer.expect("no panic").expect("an answer");
        assert_eq!(read(answer).await.expect("a body"), "one two three");
    }
    begin.extend(slow.collect().await.expect("the rest").to_bytes());
    assert_eq!(begin, b"one two three");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_failing_handler_fails_for_each_and_leaves_nothing() {
    let (_server, redis) = redis().await;
    let gate = Gate::new();
    let failing = |number: usize| match number {
        1..=3 => Err("down"),
        number => Ok(numbered(number).unwrap_or_else(|never| match never {})),
    };
    let service = CacheLayer::new(redis.clone()).layer(gate.service(failing));
    let requests: Vec<_> = (0..3)
        .map(|_| tokio::spawn(service.clone().oneshot(request("GET", "/", &[]))))
        .collect();
    gate.called(1).await;
    gate.open.add_permits(3);
    for answer in timeout(PATIENCE, join_all(requests))
        .await
        .expect("in time")
    {
        assert_eq!(answer.expect("no panic").expect_err("an error"), "down");
    }
    gate.open.add_permits(1);
    let answer = service
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer");
    assert_eq!(read(answer).await.expect("a body"), "4");
}

#[tokio::test]
async fn a_body_that_breaks_breaks_for_one_and_is_made_again_for_the_others() {
    let (_server, redis) = redis().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let breaking = service_fn(move |_: Request<Body>| {
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        let end = if number == 1 {
            Err("broken")
        } else {
            Ok(Bytes::from("two"))
        };
        let parts = stream::iter([Ok(Bytes::from("one ")), end]);
        let response = reply(&[("cache-control", "max-age=60")], Body::from_stream(parts));
        async { Ok::<_, Infallible>(response) }
    });
    let service = CacheLayer::new(redis.clone()).layer(breaking);
    let first = service
        .clone()
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer");
    let waiting = tokio::spawn(service.clone().oneshot(request("GET", "/", &[])));
    settle(&redis).await;
    read(first).await.expect_err("broken");
    let answer = timeout(PATIENCE, waiting)
        .await
        .expect("in time")
        .expect("no panic");
    assert_eq!(
        read(answer.expect("an answer")).await.expect("a body"),
        "one two"
    );
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}
