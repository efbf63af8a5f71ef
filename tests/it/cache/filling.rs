//! Bodies that are read at their own pace, whatever their first client does.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::yield_now,
    time::timeout,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{CacheLayer, cache::CacheFor};

use super::{Site, custom, field, fresh, is_hit, patient, reply, request, status};
use crate::support::{Server, http::HttpServer};

type Fed = Result<Frame<Bytes>, &'static str>;

/// A body that a test feeds, and of which is counted what was pulled.
struct Feed {
    frames: UnboundedReceiver<Fed>,
    length: Option<u64>,
    pulled: Arc<AtomicUsize>,
}

impl http_body::Body for Feed {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Fed>> {
        let frame = self.frames.poll_recv(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            let length = frame.data_ref().map_or(0, Bytes::len);
            self.pulled.fetch_add(length, Ordering::SeqCst);
            self.length = self.length.map(|rest| rest - length as u64);
        }
        frame
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

fn data(text: &'static str) -> Fed {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// A site whose answers a test feeds: one feeder for each call.
struct Fedsite {
    site: Site,
    feeders: Arc<Mutex<Vec<Option<UnboundedSender<Fed>>>>>,
    pulled: Arc<AtomicUsize>,
}

impl Fedsite {
    async fn new(length: Option<u64>, max_body: usize) -> Self {
        let feeders: Arc<Mutex<Vec<_>>> = Arc::default();
        let pulled = Arc::new(AtomicUsize::new(0));
        let (all, count) = (Arc::clone(&feeders), Arc::clone(&pulled));
        let limited = |layer: CacheLayer| layer.max_body(max_body);
        let site = Site::with(limited, move |_| {
            let (feeder, frames) = unbounded_channel();
            all.lock().expect("feeders").push(Some(feeder));
            fresh(Body::new(Feed {
                frames,
                length,
                pulled: Arc::clone(&count),
            }))
        })
        .await;
        Self {
            site,
            feeders,
            pulled,
        }
    }

    async fn ask(&self) -> Response<tower_fred::cache::CacheBody<Body>> {
        let asked = self.site.service().oneshot(request("GET", "/", &[]));
        asked.await.expect("an answer")
    }

    /// Feeds the body of the call with this number.
    fn feed(&self, call: usize, frames: impl IntoIterator<Item = Fed>) {
        let feeders = self.feeders.lock().expect("feeders");
        let feeder = feeders[call].as_ref().expect("not ended");
        for frame in frames {
            // Nobody may be there any more.
            let _ = feeder.send(frame);
        }
    }

    fn end(&self, call: usize) {
        self.feeders.lock().expect("feeders")[call] = None;
    }

    fn pulled(&self) -> usize {
        self.pulled.load(Ordering::SeqCst)
    }

    /// Waits until an answer is stored.
    async fn stored(&self) {
        let stored = async {
            while self.site.keys().await.is_empty() {
                yield_now().await;
            }
        };
        timeout(PATIENCE, stored).await.expect("it is stored");
    }

    /// Somebody who asks for the same.
    fn waiter(&self) -> tokio::task::JoinHandle<Bytes> {
        let asked = self.site.service().oneshot(request("GET", "/", &[]));
        tokio::spawn(async move {
            let answer = asked.await.expect("an answer");
            let body = answer.into_body().collect().await;
            body.expect("a body").to_bytes()
        })
    }

    async fn called(&self, times: usize) {
        let called = async {
            while self.site.calls() < times {
                yield_now().await;
            }
        };
        timeout(PATIENCE, called).await.expect("a call");
    }
}

/// A body that is not there at once.
fn paced(parts: Vec<Bytes>) -> UnsyncBoxBody<Bytes, Infallible> {
    let frames = stream::iter(parts).then(|part| async {
        yield_now().await;
        Ok(Frame::data(part))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn whole(parts: Vec<Bytes>) -> UnsyncBoxBody<Bytes, Infallible> {
    Full::from(parts.concat()).boxed_unsync()
}

/// The next client waited for 20 s, and another process for 10 s.
#[tokio::test]
async fn an_http_2_client_that_stops_reading_holds_nobody() {
    let parts: Vec<_> = (0..50u8)
        .map(|number| Bytes::from(vec![number; 4096]))
        .collect();
    let expected = parts.concat();
    for make in [whole, paced] {
        let (server, redis, calls) = {
            let server = Server::shared();
            let redis = patient(&server).await;
            (server, redis, Arc::new(AtomicUsize::new(0)))
        };
        let (parts, counted) = (parts.clone(), Arc::clone(&calls));
        let handler = service_fn(move |_: Request<Incoming>| {
            counted.fetch_add(1, Ordering::SeqCst);
            let response = Response::builder().header("cache-control", "max-age=60");
            let response = response.body(make(parts.clone())).expect("a response");
            async { Ok::<_, Infallible>(response) }
        });
        let here = HttpServer::hyper(CacheLayer::new(redis.clone()).layer(handler.clone())).await;
        let elsewhere = HttpServer::hyper(CacheLayer::new(redis.clone()).layer(handler)).await;

        let url: http::Uri = here.url("/").parse().expect("a URL");
        let address = url.authority().expect("an address").as_str();
        let stream = TcpStream::connect(address).await.expect("a connection");
        let (mut client, connection) =
            hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(1024)
                .handshake(TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let asked = Request::get(url.clone()).body(Empty::<Bytes>::new());
        let stalled = client.send_request(asked.expect("a request")).await;
        let stalled = stalled.expect("an answer");
        assert_eq!(stalled.version(), Version::HTTP_2);

        // The same URL, which the host is part of.
        let host = url.authority().expect("an address").as_str().to_owned();
        let fields = [("host", &*host)];
        for server in [&here, &elsewhere] {
            let answer = timeout(SOON, server.get("/", &fields)).await;
            assert_eq!(answer.expect("at once").body(), &expected);
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        // And who stopped gets the rest when it goes on.
        let body = stalled.into_body().collect().await.expect("a body");
        assert_eq!(body.to_bytes(), expected);
        connection.abort();
        drop(server);
    }
}

#[tokio::test]
async fn an_http_1_client_that_stops_reading_holds_nobody() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let layer = CacheLayer::new(redis.clone()).max_body(32 << 20);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    // More than the sockets take.
    let parts = vec![Bytes::from(vec![b'x'; 64 * 1024]); 256];
    let handler = service_fn(move |_: Request<Incoming>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let response = Response::builder().header("cache-control", "max-age=60");
        let response = response.body(paced(parts.clone())).expect("a response");
        async { Ok::<_, Infallible>(response) }
    });
    let site = HttpServer::hyper(layer.layer(handler)).await;
    let url: http::Uri = site.url("/").parse().expect("a URL");
    let host = url.authority().expect("an address").as_str();
    let mut stalled = TcpStream::connect(host).await.expect("a connection");
    let asked = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    stalled.write_all(asked.as_bytes()).await.expect("sent");
    let mut begin = [0; 12];
    stalled.read_exact(&mut begin).await.expect("a head");
    assert_eq!(&begin, b"HTTP/1.1 200");
    let answer = timeout(PATIENCE, site.get("/", &[])).await;
    assert_eq!(answer.expect("in time").body().len(), 16 << 20);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

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
    for (number, waiter) in waiters.into_iter().enumerate() {
        fed.feed(number + 1, [data("all")]);
        fed.end(number + 1);
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
            // Longer than anybody waits for one that gives no sign of life.
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
    for (number, waiter) in waiters.into_iter().enumerate() {
        fed.feed(number + 1, [data("y")]);
        fed.end(number + 1);
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

/// `stored` was said of what might be stored later, or not at all (RFC 9211 §2.5).
#[tokio::test]
async fn stored_is_said_of_what_is_stored() {
    let text = |parts: &'static [&str]| stream::iter(parts).map(|part| Ok::<_, &str>(*part));
    let site = Site::with(
        |layer| layer.max_body(10),
        move |parts| match parts.uri.path() {
            "/whole" => fresh("0123456789"),
            "/empty" => fresh(Body::empty()),
            "/ready" => fresh(Body::from_stream(text(&["one ", "two"]))),
            "/later" => fresh(Body::new(paced(vec!["one".into()]))),
            "/long" => fresh("0123456789x"),
            "/longer" => fresh(Body::from_stream(text(&["0123456789", "x"]))),
            "/private" => reply(&[("cache-control", "private")], "x"),
            "/shorter" => reply(
                &[("cache-control", "max-age=60"), ("content-length", "8")],
                Body::from_stream(text(&["one ", "two"])),
            ),
            _ => reply(&[], "x"),
        },
    )
    .await;
    for (method, path, said, stored) in [
        ("GET", "/whole", true, true),
        ("GET", "/empty", true, true),
        ("GET", "/ready", true, true),
        ("GET", "/later", false, true),
        ("GET", "/long", false, false),
        ("GET", "/longer", false, false),
        ("GET", "/private", false, false),
        ("GET", "/shorter", false, false),
        ("GET", "/nothing", false, false),
        ("HEAD", "/other", false, false),
    ] {
        let before = site.keys().await.len();
        let answer = site.send(request(method, path, &[])).await;
        assert_eq!(status(&answer).is_stored(), said, "{path}");
        let field = field(&answer, "cache-status").expect("a field");
        assert_eq!(field.contains("; stored"), said, "{path}: {field}");
        assert_eq!(site.keys().await.len() > before, stored, "{path}");
    }
}

/// A server that is full takes no entry, however complete.
#[tokio::test]
async fn stored_is_not_said_while_redis_takes_nothing() {
    let server = Arc::new(Server::start());
    let site = Site::on(server.clone(), |layer| layer, |_| fresh("x")).await;
    let admin = server.admin().await;
    let set_memory = async |most: &str| {
        let change = ["SET", "maxmemory", most].map(Into::into).to_vec();
        let _: String = custom(&admin, "CONFIG", change).await;
    };
    assert!(status(&site.get("/first", &[]).await).is_stored());
    set_memory("1").await;
    // Only by the first one it is seen.
    site.get("/a", &[]).await;
    for path in ["/a", "/b"] {
        let answer = site.get(path, &[]).await;
        assert!(!status(&answer).is_stored(), "{path}");
        assert_eq!(answer.body(), "x");
    }
    set_memory("0").await;
    site.get("/a", &[]).await;
    assert!(status(&site.get("/b", &[]).await).is_stored());
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

/// A refresh in the background reads what comes late as well.
#[tokio::test]
async fn a_refresh_stores_a_body_that_comes_late() {
    let calls = AtomicUsize::new(0);
    let site = Site::with(
        |layer| layer,
        move |_| {
            let number = calls.fetch_add(1, Ordering::SeqCst) + 1;
            let mut answer = reply(&[], Body::new(paced(vec![number.to_string().into()])));
            let lasting = CacheFor::secs(10).stale_while_revalidate(Duration::from_secs(600));
            answer.extensions_mut().insert(lasting);
            answer
        },
    )
    .await;
    assert_eq!(site.get("/", &[]).await.body(), "1");
    super::travel(&site.server, &site.redis, Duration::from_secs(20)).await;
    let stale = site.get("/", &[]).await;
    assert!(is_hit(&stale) && stale.body() == "1");
    let renewed = async {
        while site.get("/", &[]).await.body() != "2" {
            yield_now().await;
        }
    };
    timeout(PATIENCE, renewed).await.expect("it is made anew");
}

const PATIENCE: Duration = Duration::from_secs(30);
/// Nobody waits any longer for what another client does not read.
const SOON: Duration = Duration::from_secs(2);
