//! The response cache: hits from this process and from Redis by size, partial answers, misses, and answers that it does not
//! store.

use std::{
    convert::Infallible,
    fmt::Debug,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, Request, Response, header};
use http_body::{Body, Frame};
use http_body_util::{Full, StreamBody};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{CacheLayer, Redis, fred::interfaces::KeysInterface};

use crate::{
    baselines::{fill, page, request},
    harness::{Case, Handler, LOOP, SIZES},
};

pub(crate) async fn cases(redis: &Redis) -> Vec<Case> {
    let mut cases = Vec::new();
    for (size, name) in SIZES {
        cases.extend(hits(redis, size, name).await);
    }
    cases.extend(parts(redis).await);
    cases.extend(misses(redis));
    cases
}

/// Hits from this process beside the bare handler, and from Redis beside one GET, with a body of `size`.
async fn hits(redis: &Redis, size: usize, name: &str) -> [Case; 4] {
    let [bare, get, remote, near] = ["bare", "bare + GET", "cache, remote hit", "cache, near hit"]
        .map(|case| format!("{case}, {name}"));
    let layer = CacheLayer::new(redis.clone()).max_body(1 << 20);
    let from_redis = layer.clone().layer(sized(size));
    let from_here = layer.near(16 << 20).layer(sized(size));
    let asked = |place: &str| path(&format!("/{place}/{size}"));
    fill(&from_redis, &asked("remote")).await;
    keep(&from_here, &asked("near")).await;
    [
        Case::service(&bare, &[], sized(size), request()),
        Case::service(&get, &[], with_get(redis, size).await, request()),
        Case::service(remote, &[&get], from_redis, asked("remote")).target("<= 1.15 x"),
        Case::service(near, &[&bare], from_here, asked("near")).target("<= 1 us"),
    ]
}

/// A client that has the answer already (304), and one that wants a part of it (206).
async fn parts(redis: &Redis) -> Vec<Case> {
    let layer = CacheLayer::new(redis.clone());
    let from_redis = layer.clone().layer(sized(1 << 10));
    let from_here = layer.near(1 << 20).layer(sized(1 << 10));
    fill(&from_redis, &path("/parts")).await;
    keep(&from_here, &path("/parts-here")).await;
    let mut cases = Vec::new();
    for (status, name, value) in [
        ("304", header::IF_NONE_MATCH, "\"a\""),
        ("206", header::RANGE, "bytes=0-99"),
    ] {
        let with = |path: Request<String>| with(path, &name, value);
        let (remote, asked) = (format!("cache, remote hit, {status}"), with(path("/parts")));
        let case = Case::service(remote, &["bare + GET, 1 KiB"], from_redis.clone(), asked);
        cases.push(case.target("<= 1.15 x"));
        let (near, asked) = (
            format!("cache, near hit, {status}"),
            with(path("/parts-here")),
        );
        let case = Case::service(near, &["bare, 1 KiB"], from_here.clone(), asked);
        cases.push(case.target("<= 1 us"));
    }
    cases
}

/// Misses: a GET before the handler, and a SET after it that the client does not wait for.
fn misses(redis: &Redis) -> Vec<Case> {
    let layer = CacheLayer::new(redis.clone());
    let stored = layer.clone().layer(service_fn(|_| streamed()));
    let uncacheable = layer.clone().layer(service_fn(|_| page(None)));
    let again = with(
        path("/again"),
        &header::CACHE_CONTROL,
        "no-cache, max-age=0",
    );
    let set = with_set(redis);
    vec![
        Case::service("bare, streamed", &[], service_fn(|_| streamed()), request()),
        Case::service("bare + SET", &[], set, request()),
        Case::requests(
            "cache, miss, streamed and stored",
            &["bare, streamed", "bare + GET, 1 KiB", "bare + SET"],
            stored,
            fresh,
        ),
        Case::requests(
            "cache, miss, not stored",
            &["bare + GET, 1 KiB"],
            uncacheable,
            fresh,
        ),
        Case::service(
            "cache, stored anew for the client",
            &["bare + GET, 1 KiB", "bare + EVALSHA"],
            layer.layer(sized(1 << 10)),
            again,
        ),
    ]
}

/// Hits from this process in a loop, by one task and by two at the same time: whole, in part, as 304, and among variants.
pub(crate) async fn on_threads(redis: &Redis) -> Vec<Case> {
    let asked = path("/threads");
    let cache = CacheLayer::new(redis.clone())
        .near(1 << 20)
        .layer(sized(1 << 10));
    let varying = CacheLayer::new(redis.clone())
        .near(1 << 20)
        .layer(service_fn(|_| varying()));
    keep(&cache, &asked).await;
    let variant = path("/varying");
    keep(&varying, &variant).await;
    let (not_modified, part) = (
        with(asked.clone(), &header::IF_NONE_MATCH, "\"a\""),
        with(asked.clone(), &header::RANGE, "bytes=0-99"),
    );
    let mut cases = Vec::new();
    for (threads, name) in [(1, "1 thread"), (2, "2 threads")] {
        let bare = format!("bare handler, {name}");
        cases.push(looped(&bare, &[], sized(1 << 10), threads, &asked));
        for (kind, asked) in [("", &asked), (", 304", &not_modified), (", 206", &part)] {
            let near = format!("cache, near hit{kind}, {name}");
            let case = looped(&near, &[&bare], cache.clone(), threads, asked);
            cases.push(case.target("<= 1 us"));
        }
        let near = format!("cache, near hit, variant, {name}");
        let case = looped(&near, &[&bare], varying.clone(), threads, &variant);
        cases.push(case.target("<= 1 us"));
    }
    cases
}

/// Requests in a loop.
fn looped<S, B>(
    name: &str,
    beside: &[&str],
    service: S,
    tasks: usize,
    asked: &Request<String>,
) -> Case
where
    S: Handler<Full<Bytes>, B>,
    B: Send + 'static,
{
    let asked = asked.clone();
    Case::in_tasks(name, beside, tasks, move || {
        let (service, asked) = (service.clone(), asked.clone());
        async move {
            for _ in 0..LOOP {
                let asked = asked.clone().map(|_| Full::default());
                let _ = service.clone().oneshot(asked).await;
            }
        }
    })
}

/// 1 KiB that depends on a field of the request.
async fn varying() -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = response(Full::new(Bytes::from_static(&[b'x'; 1 << 10])));
    let vary = header::HeaderValue::from_static("accept");
    response.headers_mut().insert(header::VARY, vary);
    Ok(response)
}

/// Makes the near tier keep an answer: it keeps what was read from Redis twice.
async fn keep<S, B>(service: &S, asked: &Request<String>)
where
    S: Handler<Full<Bytes>, B>,
    B: Body<Error: Debug>,
{
    for _ in 0..4 {
        fill(service, asked).await;
    }
}

fn path(path: &str) -> Request<String> {
    let mut asked = request();
    *asked.uri_mut() = path.parse().expect("a path");
    asked
}

fn with(mut asked: Request<String>, name: &HeaderName, value: &'static str) -> Request<String> {
    let value = header::HeaderValue::from_static(value);
    asked.headers_mut().insert(name, value);
    asked
}

/// A request that is always a miss.
fn fresh() -> Request<String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    path(&format!("/fresh/{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

fn response<B>(body: B) -> Response<B> {
    let response = Response::builder()
        .header(header::CACHE_CONTROL, "max-age=600")
        .header(header::ETAG, "\"a\"");
    response.body(body).expect("a response")
}

/// A handler with a body of this size.
pub(crate) fn sized<ReqBody: Send + 'static>(size: usize) -> impl Handler<ReqBody, Full<Bytes>> {
    let body = Bytes::from(vec![b'x'; size]);
    service_fn(move |_| {
        let response = response(Full::new(body.clone()));
        async { Ok(response) }
    })
}

/// The same after one GET of as many bytes.
async fn with_get(redis: &Redis, size: usize) -> impl Handler<Full<Bytes>, Full<Bytes>> {
    let (client, body) = (redis.client(), Bytes::from(vec![b'x'; size]));
    let key = format!("{}:sized:{size}", redis.namespace());
    let set = client.set::<(), _, _>(&key, body.clone(), None, None, false);
    set.await.expect("SET");
    service_fn(move |_| {
        let (client, key, body) = (client.clone(), key.clone(), body.clone());
        async move {
            let _: Bytes = client.get(key).await.expect("GET");
            Ok(response(Full::new(body)))
        }
    })
}

fn with_set(redis: &Redis) -> impl Handler<Full<Bytes>, Full<Bytes>> {
    let (client, body) = (redis.client(), Bytes::from(vec![b'x'; 1 << 10]));
    let key = format!("{}:set", redis.namespace());
    service_fn(move |_| {
        let (client, key, body) = (client.clone(), key.clone(), body.clone());
        async move {
            let set = client.set::<(), _, _>(key, body.clone(), None, None, false);
            set.await.expect("SET");
            Ok(response(Full::new(body)))
        }
    })
}

/// 1 KiB in four frames.
async fn streamed() -> Result<
    Response<StreamBody<impl stream::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>,
    Infallible,
> {
    let frame = || Ok(Frame::data(Bytes::from_static(&[b'x'; 256])));
    let frames = [frame(), frame(), frame(), frame()];
    Ok(response(StreamBody::new(stream::iter(frames))))
}
