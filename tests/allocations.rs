//! How many allocations a request adds that leaves its session alone.
//!
//! In a binary of its own: it counts with an allocator of its own, and nothing else may run in the process.

use std::{alloc::System, convert::Infallible};

use http::{Request, Response, header};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};
use tower_fred::{Redis, SessionLayer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations per request, and whether none is kept. The service never waits, so no other task runs between.
async fn allocations<S>(mut service: S, cookie: Option<&str>) -> (usize, isize)
where
    S: Service<Request<()>, Response: Sized, Error = Infallible>,
{
    const REQUESTS: usize = 100;
    let mut requests: Vec<Request<()>> = (0..=REQUESTS)
        .map(|_| {
            let mut request = Request::new(());
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
    // Nothing listens there, and nothing is asked.
    let redis = Redis::builder().lazy().connect("redis://127.0.0.1:1").await;
    let layer = SessionLayer::new(redis.expect("a handle"));
    let handler = service_fn(|request: Request<()>| async move {
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
