//! Bodies are read at the pace of the handler, whatever their first client does.

use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::{runtime::Runtime, sync::mpsc::unbounded_channel, task::yield_now, time::timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::CacheLayer;

use super::feed::{Fedsite, Feed, PATIENCE, data};
use crate::cache::{Site, fresh, is_hit, patient, request, status};
use crate::support::Server;

#[tokio::test]
async fn who_waits_gets_what_a_client_that_left_had_made() {
    for length in [None, Some(7)] {
        let fed = Fedsite::new(length, 100).await;
        let mut body = fed.ask().await.into_body();
        fed.feed(0, [data("one ")]);
        let first = body.frame().await.expect("a frame").expect("data");
        assert_eq!(first.into_data().expect("data"), "one ");
        let waiter = fed.waiter();
        fed.site.settle().await;
        drop(body);
        fed.feed(0, [data("two")]);
        fed.end(0);
        let answer = timeout(PATIENCE, waiter).await.expect("in time");
        assert_eq!(answer.expect("no panic"), "one two");
        fed.stored().await;
        assert_eq!(fed.site.calls(), 1);
    }
}

/// HTTP/1 servers stop reading at the stated length, and some bodies know no end.
#[tokio::test]
async fn a_body_that_was_read_to_its_length_is_stored_without_its_end() {
    let fed = Fedsite::new(Some(7), 100).await;
    let mut body = fed.ask().await.into_body();
    fed.feed(0, [data("one two")]);
    body.frame().await.expect("a frame").expect("data");
    drop(body);
    fed.stored().await;
}

/// Its waiters waited for as long as it was silent.
#[tokio::test]
async fn a_silent_body_without_a_client_is_given_up() {
    let fed = Fedsite::new(None, 100).await;
    let mut body = fed.ask().await.into_body();
    fed.feed(0, [data("one ")]);
    body.frame().await.expect("a frame").expect("data");
    let waiters: Vec<_> = (0..5).map(|_| fed.waiter()).collect();
    fed.site.settle().await;
    drop(body);
    // Each asks for itself: the next one may be as silent.
    timeout(Duration::from_secs(5), fed.called(6))
        .await
        .expect("within a second or so");
    for number in 1..6 {
        fed.feed(number, [data("all")]);
        fed.end(number);
    }
    for waiter in waiters {
        assert_eq!(waiter.await.expect("no panic"), "all");
    }
}

/// Its client is there and may get more at any time; nobody else has to wait for that.
#[tokio::test]
async fn a_silent_body_holds_nobody_for_longer_than_a_second() {
    let fed = Fedsite::new(None, 100).await;
    let mut body = fed.ask().await.into_body();
    fed.feed(0, [data("one ")]);
    body.frame().await.expect("a frame").expect("data");
    let waiters: Vec<_> = (0..5).map(|_| fed.waiter()).collect();
    let elsewhere = CacheLayer::new(fed.site.redis.clone()).layer(fed.site.origin.clone());
    let elsewhere = tokio::spawn(elsewhere.oneshot(request("GET", "/", &[])));
    // They were held for 20 s, and those of the other process for 10 s.
    timeout(Duration::from_secs(5), fed.called(7))
        .await
        .expect("within a second or so");
    elsewhere.await.expect("no panic").expect("an answer");
    for number in 1..7 {
        fed.feed(number, [data("all")]);
        fed.end(number);
    }
    for waiter in waiters {
        assert_eq!(waiter.await.expect("no panic"), "all");
    }
    fed.feed(0, [data("two")]);
    fed.end(0);
    assert_eq!(body.collect().await.expect("the rest").to_bytes(), "two");
}

/// A handler that is being waited for makes progress, however long it takes.
#[tokio::test]
async fn who_waits_for_a_slow_handler_goes_on_waiting() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let slow = service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        async {
            // Longer than requests wait for a handler without progress (1 s). Only real time can pass here.
            tokio::time::sleep(Duration::from_millis(2500)).await;
            Ok::<_, Infallible>(fresh("x"))
        }
    });
    let here = CacheLayer::new(redis.clone()).layer(slow.clone());
    let elsewhere = CacheLayer::new(redis.clone()).layer(slow);
    let first = tokio::spawn(here.clone().oneshot(request("GET", "/", &[])));
    while calls.load(Ordering::SeqCst) == 0 {
        yield_now().await;
    }
    let asked = [here, elsewhere].map(|service| service.oneshot(request("GET", "/", &[])));
    for answer in futures_util::future::join_all(asked).await {
        let body = answer.expect("an answer").into_body().collect().await;
        assert_eq!(body.expect("a body").to_bytes(), "x");
    }
    first.await.expect("no panic").expect("an answer");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_does_so_for_its_client() {
    let fed = Fedsite::new(None, 100).await;
    let answer = fed.ask().await;
    assert!(!status(&answer).is_stored());
    let mut body = answer.into_body();
    let waiter = fed.waiter();
    fed.site.settle().await;
    fed.feed(0, [data("half"), Err("broken")]);
    let half = body.frame().await.expect("a frame").expect("data");
    assert_eq!(half.into_data().expect("data"), "half");
    let error = body.frame().await.expect("a frame").expect_err("an error");
    assert!(error.to_string().contains("broken"));
    // The other one has it made again.
    fed.called(2).await;
    fed.feed(1, [data("whole")]);
    fed.end(1);
    assert_eq!(waiter.await.expect("no panic"), "whole");
}

#[tokio::test]
async fn trailers_come_after_the_data() {
    let fed = Fedsite::new(None, 100).await;
    let body = fed.ask().await.into_body();
    let waiter = fed.waiter();
    fed.site.settle().await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("7"));
    fed.feed(
        0,
        [data("one "), data("two"), Ok(Frame::trailers(trailers))],
    );
    fed.end(0);
    let body = body.collect().await.expect("a body");
    assert_eq!(body.trailers().expect("trailers")["x-sum"], "7");
    assert_eq!(body.to_bytes(), "one two");
    fed.called(2).await;
    fed.feed(1, [data("without")]);
    fed.end(1);
    assert_eq!(waiter.await.expect("no panic"), "without");
}

/// What is not stored is read when the client reads, and not before.
#[tokio::test]
async fn a_body_over_the_limit_is_read_by_its_client() {
    const FRAME: usize = 100;
    let frame = |number: usize| Ok(Frame::data(Bytes::from(vec![number as u8; FRAME])));
    for ready in [true, false] {
        let fed = Fedsite::new(None, 10 * FRAME).await;
        let all: Vec<u8> = (0..200).flat_map(|number| [number as u8; FRAME]).collect();
        let mut body = if ready {
            // There before the head is sent.
            let (feeder, frames) = unbounded_channel();
            (0..200).for_each(|number| feeder.send(frame(number)).expect("fed"));
            let pulled = Arc::clone(&fed.pulled);
            let feed = Feed {
                frames,
                length: None,
                pulled,
            };
            let feed = Arc::new(Mutex::new(Some(feed)));
            let site = Site::with(
                |layer| layer.max_body(10 * FRAME),
                move |_| fresh(Body::new(feed.lock().expect("a feed").take().expect("one"))),
            )
            .await;
            let asked = site.service().oneshot(request("GET", "/", &[]));
            asked.await.expect("an answer").into_body()
        } else {
            let body = fed.ask().await.into_body();
            fed.feed(0, (0..200).map(frame));
            fed.end(0);
            body
        };
        let mut got = Vec::new();
        while got.len() < 11 * FRAME {
            let frame = body.frame().await.expect("a frame").expect("data");
            got.extend(frame.into_data().expect("data"));
        }
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(fed.pulled() <= 12 * FRAME, "{} were pulled", fed.pulled());
        assert!(!body.is_end_stream());
        got.extend(body.collect().await.expect("the rest").to_bytes());
        assert_eq!(got, all);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_holds_nobody() {
    let fed = Fedsite::new(None, 10).await;
    let body = fed.ask().await.into_body();
    let waiters: Vec<_> = (0..3).map(|_| fed.waiter()).collect();
    fed.site.settle().await;
    fed.feed(0, [data("0123456789x")]);
    // While its own client reads nothing, and its end has not come.
    fed.called(4).await;
    for number in 1..4 {
        fed.feed(number, [data("y")]);
        fed.end(number);
    }
    for waiter in waiters {
        assert_eq!(waiter.await.expect("no panic"), "y");
    }
    fed.end(0);
    let body = body.collect().await.expect("a body").to_bytes();
    assert_eq!(body, "0123456789x");
}

#[tokio::test]
async fn the_hint_and_the_end_are_true_all_the_time() {
    let fed = Fedsite::new(Some(7), 100).await;
    let mut body = fed.ask().await.into_body();
    assert_eq!(body.size_hint().exact(), Some(7));
    assert!(!body.is_end_stream());
    fed.feed(0, [data("one ")]);
    let first = body.frame().await.expect("a frame").expect("data");
    assert_eq!(first.into_data().expect("data"), "one ");
    assert_eq!(body.size_hint().exact(), Some(3));
    fed.feed(0, [data("two")]);
    fed.end(0);
    fed.stored().await;
    assert_eq!(body.size_hint().exact(), Some(3));
    assert!(!body.is_end_stream());
    let rest = body.frame().await.expect("a frame").expect("data");
    assert_eq!(rest.into_data().expect("data"), "two");
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(body.is_end_stream());
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn many_small_frames_make_one_answer() {
    const FRAMES: usize = 20_000;
    let text: String = (0..FRAMES)
        .map(|number| (b'a' + (number % 26) as u8) as char)
        .collect();
    let bytes = Bytes::from(text.clone());
    let site = Site::new(move |_| {
        let bytes = bytes.clone();
        let frames = stream::iter(0..FRAMES).then(move |at| {
            let part = bytes.slice(at..=at);
            async move {
                if at % 100 == 0 {
                    yield_now().await;
                }
                Ok::<_, Infallible>(part)
            }
        });
        fresh(Body::from_stream(frames))
    })
    .await;
    assert_eq!(site.get("/", &[]).await.body(), &text);
    let again = site.get("/", &[]).await;
    assert_eq!(again.body(), &text);
    assert!(is_hit(&again));
}

/// The client's server may live longer than the runtime that the cache was asked in.
#[test]
fn a_body_goes_on_without_its_runtime() {
    let first = Runtime::new().expect("a runtime");
    let second = Runtime::new().expect("a runtime");
    let (fed, mut body) = first.block_on(async {
        let fed = Fedsite::new(None, 100).await;
        let body = fed.ask().await.into_body();
        fed.feed(0, [data("one ")]);
        (fed, body)
    });
    let half = second.block_on(body.frame());
    let half = half.expect("a frame").expect("data");
    assert_eq!(half.into_data().expect("data"), "one ");
    first.shutdown_timeout(PATIENCE);
    fed.feed(0, [data("two")]);
    fed.end(0);
    let rest = second.block_on(timeout_of(body.collect()));
    assert_eq!(rest.expect("a body").to_bytes(), "two");
    second.block_on(async { drop(fed) });
}

async fn timeout_of<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("in time")
}
