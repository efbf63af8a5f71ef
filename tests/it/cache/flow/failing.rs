use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_fred::{CacheLayer, Redis, cache::CacheBody};

use crate::cache::{patient, reply, request, status, travel};
use crate::support::{Server, patience::patiently};

/// A handler that can be told to fail, and to take its time for it.
struct Handler {
    /// 0: the service gives an error and no answer.
    code: AtomicU16,
    calls: AtomicUsize,
    places: Semaphore,
    control: &'static str,
}

type Service = BoxCloneSyncService<
    Request<Body>,
    Response<CacheBody<Body>>,
    Box<dyn std::error::Error + Send + Sync>,
>;

impl Handler {
    fn new(control: &'static str) -> Arc<Self> {
        Arc::new(Self {
            code: AtomicU16::new(200),
            calls: AtomicUsize::new(0),
            places: Semaphore::new(1 << 20),
            control,
        })
    }

    #[allow(clippy::needless_pass_by_value, reason = "made where it is passed")]
    fn behind(self: &Arc<Self>, layer: CacheLayer) -> Service {
        let handler = Arc::clone(self);
        let service = service_fn(move |_: Request<Body>| {
            let handler = Arc::clone(&handler);
            async move {
                handler.calls.fetch_add(1, Ordering::SeqCst);
                let _place = handler.places.acquire().await.expect("open");
                let code = handler.code.load(Ordering::SeqCst);
                let Ok(code) = StatusCode::from_u16(code) else {
                    return Err("broken".into());
                };
                let mut response = reply(&[], "x");
                if code.is_success() {
                    response = reply(&[("cache-control", handler.control)], "x");
                }
                *response.status_mut() = code;
                Ok(response)
            }
        });
        BoxCloneSyncService::new(layer.layer(service))
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn get(service: &Service, redis: &Redis, fields: &[(&str, &str)]) -> Option<Response<()>> {
    let answer = service.clone().oneshot(request("GET", "/", fields)).await;
    let (parts, body) = answer.ok()?.into_parts();
    body.collect().await.expect("a body");
    for _ in 0..8 {
        redis.ping().await.expect("a reply");
    }
    Some(Response::from_parts(parts, ()))
}

async fn until(holds: impl Fn() -> bool) {
    let work = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    patiently("the handler is asked", work).await;
}

/// Each of them was once asked of the handler: 150 of 150.
#[tokio::test]
async fn a_failing_handler_is_asked_once_by_a_herd() {
    let server = Server::shared();
    for code in [500, 502, 503, 504, 0] {
        let redis = patient(&server).await;
        let handler = Handler::new("max-age=10, stale-if-error=600");
        let layer = CacheLayer::new(redis.clone()).error_pause(Duration::from_secs(600));
        let service = handler.behind(layer);
        get(&service, &redis, &[]).await;
        travel(&server, &redis, Duration::from_secs(30)).await;
        handler.code.store(code, Ordering::SeqCst);
        let herd = join_all((0..150).map(|_| get(&service, &redis, &[]))).await;
        assert!(herd.iter().flatten().all(|answer| answer.status() == 200));
        assert_eq!(herd.iter().flatten().count(), 150);
        assert_eq!(handler.calls(), 2, "{code}");
        // Neither by those who come later, whatever they want.
        for fields in [
            &[][..],
            &[("cache-control", "no-cache")],
            &[("if-none-match", "\"a\"")],
            &[("range", "bytes=0-0")],
        ] {
            let answer = get(&service, &redis, fields).await.expect("an answer");
            let status = status(&answer).to_string();
            assert!(status.starts_with("hit; ttl=-"), "{status}");
            assert!(status.ends_with("; detail=stale-if-error"), "{status}");
        }
        assert_eq!(handler.calls(), 2, "{code}");
    }
}

#[tokio::test]
async fn what_must_be_revalidated_never_stands_in() {
    let server = Server::shared();
    for code in [503, 0] {
        let redis = patient(&server).await;
        let handler = Handler::new("max-age=10, stale-if-error=600, must-revalidate");
        let service = handler.behind(CacheLayer::new(redis.clone()));
        get(&service, &redis, &[]).await;
        travel(&server, &redis, Duration::from_secs(30)).await;
        handler.code.store(code, Ordering::SeqCst);
        for _ in 0..3 {
            let answer = get(&service, &redis, &[]).await;
            assert!(answer.is_none_or(|answer| answer.status() == code));
        }
        assert_eq!(handler.calls(), 4, "{code}");
    }
}

/// While one asks, the others do not wait for it, in this process and in another that knows of the failure.
#[tokio::test]
async fn one_asks_at_a_time_and_the_others_do_not_wait() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let handler = Handler::new("max-age=10, stale-if-error=600");
    let layer = || CacheLayer::new(redis.clone()).error_pause(Duration::ZERO);
    let (here, there) = (handler.behind(layer()), handler.behind(layer()));
    get(&here, &redis, &[]).await;
    travel(&server, &redis, Duration::from_secs(30)).await;
    handler.code.store(503, Ordering::SeqCst);
    for process in [&here, &there] {
        get(process, &redis, &[]).await;
    }
    let before = handler.calls();
    let places = handler.places.acquire_many(1 << 20).await.expect("open");
    // The other process may still have the right to ask.
    let probe = tokio::spawn({
        let (here, redis, handler) = (here.clone(), redis.clone(), handler.clone());
        async move {
            loop {
                let answer = get(&here, &redis, &[]).await;
                if handler.calls() > before {
                    return answer;
                }
            }
        }
    });
    until(|| handler.calls() > before).await;
    for process in [&here, &there] {
        let others = join_all((0..20).map(|_| get(process, &redis, &[])));
        let others = tokio::time::timeout(Duration::from_secs(9), others).await;
        for answer in others.expect("nobody waits").into_iter().flatten() {
            assert!(status(&answer).is_hit());
        }
    }
    assert_eq!(handler.calls(), before + 1);
    // When it is well again, the one who asks finds out for all.
    handler.code.store(200, Ordering::SeqCst);
    drop(places);
    let probed = probe.await.expect("a task").expect("an answer");
    assert!(status(&probed).is_stored());
    for process in [&here, &there] {
        let answer = get(process, &redis, &[]).await.expect("an answer");
        assert_eq!(status(&answer).detail_word(), None);
        assert!(status(&answer).is_hit());
    }
}

/// Who asks and goes away leaves the right to the next one.
#[tokio::test]
async fn a_client_that_leaves_does_not_end_the_asking() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let handler = Handler::new("max-age=10, stale-if-error=600");
    let service = handler.behind(CacheLayer::new(redis.clone()).error_pause(Duration::ZERO));
    get(&service, &redis, &[]).await;
    travel(&server, &redis, Duration::from_secs(30)).await;
    handler.code.store(503, Ordering::SeqCst);
    get(&service, &redis, &[]).await;
    let before = handler.calls();
    let places = handler.places.acquire_many(1 << 20).await.expect("open");
    let probe = tokio::spawn({
        let (service, redis) = (service.clone(), redis.clone());
        async move { get(&service, &redis, &[]).await }
    });
    until(|| handler.calls() > before).await;
    probe.abort();
    let _ = probe.await;
    handler.code.store(200, Ordering::SeqCst);
    drop(places);
    // Within the second for which no other process asks after a failure, and a few more turns.
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let answer = get(&service, &redis, &[]).await.expect("an answer");
        if status(&answer).is_stored() {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "nobody asks");
        tokio::task::yield_now().await;
    }
}
