//! How many allocations a request adds that leaves its session alone, and how many an answer from this process takes.
//!
//! In a binary of its own: it counts with an allocator of its own, and nothing else may run in the process.

#[path = "it/support/patience.rs"]
#[allow(unreachable_pub, reason = "shared with the other tests")]
mod patience;
#[path = "it/support/server.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the other tests, which use all of it"
)]
mod server;

use std::{alloc::System, convert::Infallible, time::Duration};

use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::{sync::Mutex, task::yield_now};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_fred::{CacheLayer, Redis, SessionLayer, memo::Memo};

use server::Server;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Held by the test that counts.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Allocations per request, and whether none is kept. The service never waits, so no other task runs between.
async fn allocations<S>(mut service: S, cookie: Option<&str>) -> (usize, isize)
where
    S: Service<Request<String>, Response: Sized, Error = Infallible>,
{
    const REQUESTS: usize = 100;
    let mut requests: Vec<Request<String>> = (0..=REQUESTS)
        .map(|_| {
            let mut request = Request::new(String::new());
            if let Some(cookie) = cookie {
                let value = cookie.parse().expect("a cookie");
                request.headers_mut().insert(header::COOKIE, value);
            }
            request
        })
        .collect();
    // The first of all warms up.
    let warm = requests.pop().expect("a request");
    let _ = service.call(warm).await;
    let region = Region::new(ALLOCATOR);
    for request in requests {
        let _ = service.call(request).await;
    }
    let change = region.change();
    let kept = change.bytes_allocated as isize - change.bytes_deallocated as isize;
    (change.allocations.div_ceil(REQUESTS), kept)
}

#[tokio::test]
async fn an_untouched_request_adds_a_few_allocations_and_keeps_none() {
    let _alone = ALONE.lock().await;
    // Nothing listens there, and nothing is asked.
    let redis = Redis::builder().lazy().connect("redis://127.0.0.1:1").await;
    let layer = SessionLayer::new(redis.expect("a handle"));
    let handler = service_fn(|request: Request<String>| async move {
        drop(request);
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let cookie = format!("__Host-id={}", "A".repeat(64));
    for cookie in [None, Some(cookie.as_str())] {
        let (bare, _) = allocations(handler, cookie).await;
        let (session, kept) = allocations(layer.layer(handler), cookie).await;
        println!("cookie: {}, added: {}", cookie.is_some(), session - bare);
        assert!(session - bare <= 10, "{} allocations", session - bare);
        assert!(kept <= 0, "{kept} bytes are kept");
    }
}

/// Allocations and bytes of each of a hundred runs, the least of some tries: now and then a look at the purge log is too
/// long ago, and one of them asks Redis.
async fn least(mut hit: impl AsyncFnMut()) -> (usize, usize) {
    const HITS: usize = 100;
    let mut least = (usize::MAX, usize::MAX);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        // A budget of its own: within it nothing else runs.
        yield_now().await;
        let region = Region::new(ALLOCATOR);
        for _ in 0..HITS {
            hit().await;
        }
        let change = region.change();
        let each = |count: usize| count.div_ceil(HITS);
        least = least.min((each(change.allocations), each(change.bytes_allocated)));
    }
    least
}

#[tokio::test]
async fn a_response_from_this_process_takes_a_few_allocations() {
    let _alone = ALONE.lock().await;
    let server = Server::start();
    let redis = server.redis().await;
    let cache =
        CacheLayer::new(redis)
            .near(1 << 20)
            .layer(service_fn(|_: Request<String>| async {
                let response = Response::builder()
                    .header(header::CONTENT_TYPE, "text/plain")
                    .header(header::CACHE_CONTROL, "max-age=600")
                    .header(header::ETAG, "\"a\"");
                let body = Full::new(bytes::Bytes::from(vec![b'x'; 1024]));
                Ok::<_, Infallible>(response.body(body).expect("a response"))
            }));
    for _ in 0..10 {
        let response = cache.clone().oneshot(Request::new(String::new())).await;
        let body = response.expect("a response").into_body();
        body.collect().await.expect("a body");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (allocations, bytes) = least(async || {
        let response = cache.clone().call(Request::new(String::new())).await;
        assert!(response.is_ok_and(|response| response.headers().contains_key(header::AGE)));
    })
    .await;
    println!("a near hit of the cache: {allocations} allocations, {bytes} bytes");
    // The fields and room for two more, both of these, and the extensions with what is in them.
    assert!(allocations <= 7, "{allocations} allocations");
    assert!(bytes <= 1200, "{bytes} bytes");
}

#[tokio::test]
async fn a_value_from_this_process_takes_a_few_allocations() {
    let _alone = ALONE.lock().await;
    let server = Server::start();
    let redis = server.redis().await;
    let memo: Memo<u64> = Memo::new(redis, "numbers", Duration::from_secs(600)).near(1 << 20);
    for _ in 0..10 {
        assert_eq!(memo.get_or_set("seven", async || 7).await, 7);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (allocations, bytes) = least(async || {
        assert_eq!(memo.get_or_set("seven", async || 8).await, 7);
    })
    .await;
    println!("a near hit of a memo: {allocations} allocations, {bytes} bytes");
    // The key as JSON.
    assert!(allocations <= 1, "{allocations} allocations");
    assert!(bytes <= 128, "{bytes} bytes");
}
