//! How many allocations a request adds that does not use its session, and how many an answer from this process takes.
//!
//! This is a binary of its own, since it replaces the allocator and no other test may run in the process.

#[path = "it/support/counts.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the other tests, which use all of it"
)]
mod counts;
#[path = "it/support/patience.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the other tests, which use all of it"
)]
mod patience;
#[path = "it/support/server.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the other tests, which use all of it"
)]
mod server;

use std::{alloc::System, convert::Infallible, time::Duration};

use http::{Request, Response, header, request::Parts};
use http_body_util::{BodyExt, Full};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::{sync::Mutex, task::yield_now};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_fred::{
    CacheLayer, RateLimitLayer, Redis, SessionLayer,
    fred::interfaces::KeysInterface,
    memo::Memo,
    rate_limit::{Policy, Quota, RateLimiter},
};

use patience::until;
use server::Server;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Held by the test that counts: one at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Allocations per request, and the bytes that are still allocated after all. The service never waits, so no other task
/// runs meanwhile.
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
    // The first request warms up.
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
    // No server listens there, and no command is sent.
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

/// Allocations and bytes per run of a hundred, the least of twenty tries. In some tries one run has to read the purge log.
async fn least(mut hit: impl AsyncFnMut()) -> (usize, usize) {
    const HITS: usize = 100;
    let mut least = (usize::MAX, usize::MAX);
    for _ in 0..20 {
        // Not a wait for an event: it gives the tasks of the handle, such as the reader of the purge log, time to run.
        tokio::time::sleep(Duration::from_millis(5)).await;
        // Starts a new cooperative budget: no other task runs until it is used up.
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

/// Runs `hit` until it sends no command: the answer is in this process.
async fn until_near(server: &Server, hit: impl AsyncFn()) {
    until("an answer from this process", async || {
        let (counts, ()) = server.count(hit()).await;
        counts.total() == 0
    })
    .await;
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
    until_near(&server, async || {
        let response = cache.clone().oneshot(Request::new(String::new())).await;
        let body = response.expect("a response").into_body();
        body.collect().await.expect("a body");
    })
    .await;
    let (allocations, bytes) = least(async || {
        let response = cache.clone().call(Request::new(String::new())).await;
        assert!(response.is_ok_and(|response| response.headers().contains_key(header::AGE)));
    })
    .await;
    println!("a near hit of the cache: {allocations} allocations, {bytes} bytes");
    // The header fields and room for two more, the two that the cache adds, and the extensions with their contents.
    assert!(allocations <= 7, "{allocations} allocations");
    assert!(bytes <= 1200, "{bytes} bytes");
}

#[tokio::test]
async fn a_value_from_this_process_takes_a_few_allocations() {
    let _alone = ALONE.lock().await;
    let server = Server::start();
    let redis = server.redis().await;
    let memo: Memo<u64> = Memo::new(redis, "numbers", Duration::from_secs(600)).near(1 << 20);
    until_near(&server, async || {
        assert_eq!(memo.get_or_set("seven", async || 7).await, 7);
    })
    .await;
    let (allocations, bytes) = least(async || {
        assert_eq!(memo.get_or_set("seven", async || 8).await, 7);
    })
    .await;
    println!("a near hit of a memo: {allocations} allocations, {bytes} bytes");
    // The key in JSON.
    assert!(allocations <= 1, "{allocations} allocations");
    assert!(bytes <= 128, "{bytes} bytes");
}

/// A stored body is a part of the reply: copying a long one would take longer than the rest of a hit.
#[tokio::test]
async fn a_long_body_from_redis_is_not_copied() {
    const LONG: usize = 256 << 10;
    let _alone = ALONE.lock().await;
    let server = Server::start();
    let redis = server.redis().await;
    let body = bytes::Bytes::from(vec![b'x'; LONG]);
    let raw = format!("{}:raw", redis.namespace());
    let client = redis.client();
    let set = client.set::<(), _, _>(&raw, body.clone(), None, None, false);
    set.await.expect("SET");
    let cache = CacheLayer::new(redis).layer(service_fn(move |_: Request<String>| {
        let response = Response::builder().header(header::CACHE_CONTROL, "max-age=600");
        let response = response.body(Full::new(body.clone()));
        async { Ok::<_, Infallible>(response.expect("a response")) }
    }));
    let hit = async || {
        let response = cache.clone().oneshot(Request::new(String::new())).await;
        let response = response.expect("a response");
        let is_hit = response.headers().contains_key(header::AGE);
        let body = response.into_body().collect().await.expect("a body");
        assert_eq!(body.to_bytes().len(), LONG);
        is_hit
    };
    until("a stored response", &hit).await;
    // The least of many: what a reply takes depends on the pieces in which it comes.
    let (mut of_get, mut of_hit) = (usize::MAX, usize::MAX);
    for _ in 0..100 {
        let region = Region::new(ALLOCATOR);
        let value: bytes::Bytes = client.get(&raw).await.expect("GET");
        assert_eq!(value.len(), LONG);
        drop(value);
        of_get = of_get.min(region.change().bytes_allocated);
        let region = Region::new(ALLOCATOR);
        assert!(hit().await);
        of_hit = of_hit.min(region.change().bytes_allocated);
    }
    println!("bytes of a GET: {of_get}, of a hit: {of_hit}");
    assert!(of_hit < of_get + LONG / 2, "{of_hit} bytes, a GET {of_get}");
}

/// A request took 67 allocations: a list of ten words, another of eleven in the reply, and header fields made of pieces.
#[tokio::test]
async fn a_limit_check_takes_few_allocations() {
    let _alone = ALONE.lock().await;
    let server = Server::start();
    let quota = Quota::per_second(1_000_000);
    let redis = server.redis().await;
    let limiter = RateLimiter::new(redis.clone(), quota).name("alone");
    let (check, _) = least(async || {
        let decision = limiter.check("alice").await.expect("a decision");
        assert!(decision.is_allowed());
    })
    .await;
    let handler = service_fn(|request: Request<String>| async move {
        drop(request);
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let layer = RateLimitLayer::new(redis, Policy::new("layer", quota)).by(|_: &Parts| Some(7_u64));
    let service = layer.layer(handler);
    let (request, _) = least(async || {
        let response = service.clone().oneshot(Request::new(String::new())).await;
        assert!(
            response
                .expect("a response")
                .headers()
                .contains_key("ratelimit")
        );
    })
    .await;
    println!("allocations of a check: {check}, of a request: {request}");
    assert!(check <= MOST_OF_CHECK, "{check} allocations");
    assert!(request <= MOST_OF_REQUEST, "{request} allocations");
}

/// Most of them are those of fred for its command. Debug builds count 15 and 28.
const MOST_OF_CHECK: usize = 17;
const MOST_OF_REQUEST: usize = 31;
