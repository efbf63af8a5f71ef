use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::ServiceExt;
use tower_fred::CacheLayer;

use crate::cache::{Site, fresh, is_hit, reply, request, status};

type Frames = Vec<Result<Frame<Bytes>, &'static str>>;

fn data(text: &'static str) -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// A body of these frames, whose length is not known beforehand.
fn frames(frames: Frames) -> Body {
    Body::new(StreamBody::new(stream::iter(frames)))
}

/// A site whose answers have these fields and frames, with a limit of ten bytes.
async fn streaming(fields: &'static [(&str, &str)], make: fn() -> Frames) -> Site {
    let limited = |layer: CacheLayer| layer.max_body(10);
    Site::with(limited, move |_| {
        let mut response = reply(fields, frames(make()));
        let lifetime = HeaderValue::from_static("max-age=60");
        response.headers_mut().append("cache-control", lifetime);
        response
    })
    .await
}

async fn is_stored(site: &Site) -> bool {
    site.settle().await;
    !site.keys().await.is_empty()
}

#[tokio::test]
async fn frames_that_are_there_are_stored_together() {
    let site = streaming(&[], || vec![data("one "), data(""), data("two")]).await;
    let response = site
        .service()
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer");
    // Before the client has read anything.
    assert!(status(&response).is_stored());
    assert!(is_stored(&site).await);
    let body = response.into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes(), "one two");
    let hit = site.get("/", &[]).await;
    assert!(is_hit(&hit) && hit.body() == "one two");
}

#[tokio::test]
async fn a_body_at_the_limit_is_stored_and_one_over_it_is_delivered() {
    let site = streaming(&[], || vec![data("01234"), data("56789")]).await;
    assert_eq!(site.get("/", &[]).await.body(), "0123456789");
    assert!(is_stored(&site).await);

    let site = streaming(&[], || {
        vec![data("01234"), data("56789"), data("x"), data("y")]
    })
    .await;
    assert_eq!(site.get("/", &[]).await.body(), "0123456789xy");
    assert!(!is_stored(&site).await);
}

#[tokio::test]
async fn a_body_that_is_known_to_be_too_long_is_not_copied() {
    let limited = |layer: CacheLayer| layer.max_body(10);
    for fields in [
        &[("cache-control", "max-age=60")][..],
        &[("cache-control", "max-age=60"), ("content-length", "11")],
    ] {
        let site = Site::with(limited, move |_| reply(fields, "0123456789x")).await;
        let response = site.get("/", &[]).await;
        assert_eq!(response.body(), "0123456789x");
        assert!(!status(&response).is_stored());
        assert!(!is_stored(&site).await);
    }
}

#[tokio::test]
async fn a_broken_body_breaks_for_the_client_and_is_not_stored() {
    let site = streaming(&[], || vec![data("half"), Err("broken")]).await;
    let response = site
        .service()
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer");
    let mut body = response.into_body();
    assert!(body.frame().await.expect("a frame").is_ok());
    let error = body.frame().await.expect("a frame").expect_err("an error");
    assert!(error.to_string().contains("broken"));
    drop(body);
    assert!(!is_stored(&site).await);
}

#[tokio::test]
async fn a_body_of_another_length_than_stated_is_not_stored() {
    for fields in [
        &[("content-length", "8")][..],
        &[("content-length", "6")],
        &[("content-length", "x")],
        &[("content-length", "7"), ("content-length", "7")],
    ] {
        let limited = |layer: CacheLayer| layer.max_body(10);
        let site = Site::with(limited, move |_| {
            let mut response = reply(fields, frames(vec![data("one "), data("two")]));
            response
                .headers_mut()
                .insert("cache-control", HeaderValue::from_static("max-age=60"));
            response
        })
        .await;
        assert_eq!(site.get("/", &[]).await.body(), "one two");
        assert!(!is_stored(&site).await, "{fields:?}");
    }
    let site = streaming(&[("content-length", "7")], || {
        vec![data("one "), data("two")]
    })
    .await;
    site.get("/", &[]).await;
    assert!(is_stored(&site).await);
}

#[tokio::test]
async fn a_body_that_a_client_left_is_stored_all_the_same() {
    for (fields, frames_read) in [
        (&[][..], 0),
        (&[], 1),
        (&[("content-length", "7")], 0),
        (&[("content-length", "7")], 1),
    ] {
        let site = streaming(fields, || vec![data("one "), data("two")]).await;
        let response = site
            .service()
            .oneshot(request("GET", "/", &[]))
            .await
            .expect("an answer");
        let mut body = response.into_body();
        for _ in 0..frames_read {
            body.frame().await.expect("a frame").expect("data");
        }
        drop(body);
        assert!(is_stored(&site).await);
    }
}

#[tokio::test]
async fn trailers_reach_the_client_and_prevent_storing() {
    let site = streaming(&[], || {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("7"));
        vec![data("one"), Ok(Frame::trailers(trailers))]
    })
    .await;
    let response = site
        .service()
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer");
    let body = response.into_body().collect().await.expect("a body");
    assert_eq!(body.trailers().expect("trailers")["x-sum"], "7");
    assert!(!is_stored(&site).await);
}

#[tokio::test]
async fn an_empty_body_is_stored_although_nobody_reads_it() {
    let site = Site::new(|_| fresh(Body::empty())).await;
    drop(
        site.service()
            .oneshot(request("GET", "/", &[]))
            .await
            .expect("an answer"),
    );
    assert!(is_stored(&site).await);
    let hit = site.get("/", &[]).await;
    assert!(is_hit(&hit) && hit.body().is_empty());
}

#[tokio::test]
async fn an_event_arrives_before_the_stream_ends() {
    let site = Site::with(
        |layer| layer.ttl(Duration::from_secs(60)),
        |_| {
            let events = stream::unfold((), |()| async {
                let event = Ok::<_, Infallible>(Bytes::from_static(b"data: 1\n\n"));
                // The second one never comes.
                Some((event, ()))
            });
            let first = futures_util::StreamExt::take(events, 1);
            let events = futures_util::StreamExt::chain(first, stream::pending());
            reply(
                &[("content-type", "text/event-stream")],
                Body::from_stream(events),
            )
        },
    )
    .await;
    let response = site
        .service()
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer");
    assert!(!status(&response).is_stored());
    let mut body = response.into_body();
    let event = body.frame().await.expect("a frame").expect("data");
    assert_eq!(event.into_data().expect("data"), "data: 1\n\n");
}

#[tokio::test]
async fn a_large_body_makes_the_round_trip() {
    let text = "0123456789abcdef".repeat(12_800);
    let expected = text.clone();
    let site = Site::new(move |_| fresh(text.clone())).await;
    site.get("/", &[]).await;
    let hit = site.get("/", &[]).await;
    assert!(is_hit(&hit) && hit.body() == &expected);
}

#[tokio::test]
async fn defaults_stack() {
    // A layer outside needs a body to answer with.
    let body = tower_fred::cache::CacheBody::<Body>::default();
    assert!(body.collect().await.expect("a body").to_bytes().is_empty());
    let _: Response<tower_fred::cache::CacheBody<Body>> = Response::default();
}
