//! Requests that the layer answers while their clients are still sending, at the level of bytes.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer,
    rate_limit::{Decision, Key, Policy, Quota},
};

use crate::{
    rate_limit::patient,
    support::{
        Server,
        http::{Http2, HttpServer},
        until,
    },
};

/// Much longer than a test takes.
const LONG: Duration = Duration::from_secs(300);
/// What must not wait is there within this time.
const SOON: Duration = Duration::from_secs(20);
const BYTES: u64 = 8 * 1024 * 1024;

/// A layer that denies: its only subject has used its permit.
async fn denying(server: &Server) -> RateLimitLayer<fn(&Parts) -> Option<&'static str>> {
    let everybody: fn(&Parts) -> Option<&'static str> = |_| Some("everybody");
    let layer = RateLimitLayer::new(patient(server).await, Quota::per_day(1))
        .by(everybody)
        .fail_closed();
    let service = layer.layer(service_fn(async |_: Request<String>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let first = service.oneshot(Request::new(String::new())).await;
    assert_eq!(first.expect("an answer").status(), StatusCode::OK);
    layer
}

async fn serve<K: Key>(layer: &RateLimitLayer<K>) -> HttpServer {
    HttpServer::hyper(layer.layer(service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
    })))
    .await
}

/// A client that sends what it is told to, and reads only then.
struct RawClient {
    stream: TcpStream,
}

impl RawClient {
    async fn connect(server: &HttpServer) -> Self {
        let stream = TcpStream::connect(server.address()).await;
        Self {
            stream: stream.expect("connected"),
        }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.stream.write_all(bytes.as_ref());
        let sent = timeout(SOON, sent).await.expect("sent in time");
        sent.expect("the server reads");
    }

    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = timeout(SOON, self.stream.read_u8()).await;
            head.push(byte.expect("a head in time").expect("a head"));
        }
        String::from_utf8(head).expect("text").to_ascii_lowercase()
    }

    async fn body(&mut self, head: &str) -> String {
        let length = head.split("content-length: ").nth(1).expect("a length");
        let length = length.split("\r\n").next().expect("a line");
        let mut body = vec![0; length.parse().expect("a number")];
        let read = timeout(SOON, self.stream.read_exact(&mut body)).await;
        read.expect("a body in time").expect("a body");
        String::from_utf8(body).expect("text")
    }

    /// Reads a whole answer of this status.
    async fn answer(&mut self, status: u16) -> (String, String) {
        let head = self.head().await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
        let body = self.body(&head).await;
        (head, body)
    }
}

fn with_length(size: usize) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n");
    [head.into_bytes(), vec![b'x'; size]].concat()
}

fn chunked(size: usize) -> Vec<u8> {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut bytes = head.as_bytes().to_vec();
    for _ in 0..size / 1_000 {
        bytes.extend_from_slice(b"3e8\r\n");
        bytes.extend_from_slice(&[b'x'; 1_000]);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// The server closed with unread bytes: the client saw a reset in place of the 429.
#[tokio::test]
async fn a_denied_upload_sees_its_answer_and_the_connection_goes_on() {
    let server = Server::shared();
    let layer = denying(&server).await.drain_denied(BYTES, LONG);
    let server = serve(&layer).await;
    let mut client = RawClient::connect(&server).await;
    for size in [300_000, 3_000_000] {
        for request in [with_length(size), chunked(size)] {
            client.send(request).await;
            let (head, body) = client.answer(429).await;
            assert!(head.contains("\r\nretry-after: "), "{head}");
            assert!(!body.is_empty());
        }
    }
}

/// The same for the defaults, and for the other answers that the layer makes itself.
#[tokio::test]
async fn every_answer_of_the_layer_itself_is_seen() {
    let redis = Server::shared();
    let upload = with_length(3_000_000);
    let denying = denying(&redis).await;
    let no_key = denying.clone().by(|_: &Parts| None::<u64>);
    let empty = |_: &Parts, _: &_| {
        let response = Response::builder().status(StatusCode::FORBIDDEN);
        response.body(Bytes::new()).expect("a response")
    };
    let dead = Server::start();
    let unavailable = RateLimitLayer::new(patient(&dead).await, Quota::per_day(1)).fail_closed();
    dead.kill();
    for (server, status) in [
        (serve(&denying).await, 429),
        (serve(&denying.rejection(empty)).await, 403),
        (serve(&no_key.missing_key_deny()).await, 400),
        (serve(&unavailable).await, 503),
    ] {
        let mut client = RawClient::connect(&server).await;
        for _ in 0..2 {
            client.send(&upload).await;
            client.answer(status).await;
        }
    }
}

/// An answer to HEAD has no body whose end could wait.
#[tokio::test]
async fn a_denied_head_with_a_body_is_read_before_the_answer() {
    let server = Server::shared();
    let layer = denying(&server).await.drain_denied(BYTES, LONG);
    let server = serve(&layer).await;
    let mut client = RawClient::connect(&server).await;
    let request = String::from_utf8(with_length(3_000_000)).expect("text");
    for _ in 0..2 {
        client.send(request.replacen("POST", "HEAD", 1)).await;
        assert!(client.head().await.starts_with("http/1.1 429 "));
    }
}

/// A client that sends slowly kept the request in progress for as long as it wanted.
#[tokio::test]
async fn a_slow_sender_gets_the_time_and_no_more() {
    let server = Server::shared();
    let time = Duration::from_millis(500);
    let layer = denying(&server).await.drain_denied(BYTES, time);
    let server = serve(&layer).await;
    let trickle = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000\r\n\r\nx";
    let mut client = RawClient::connect(&server).await;
    let begin = Instant::now();
    client.send(trickle).await;
    let (_, body) = client.answer(429).await;
    assert!(!body.is_empty() && begin.elapsed() >= time);
    // Bytes that arrive do not extend it.
    let client = TcpStream::connect(server.address()).await;
    let (mut read, mut write) = client.expect("connected").into_split();
    write.write_all(trickle.as_bytes()).await.expect("sent");
    let sender = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    // The connection ends with a reset, as the client goes on sending.
    let _ = timeout(SOON, read.read_to_end(&mut answer))
        .await
        .expect("an end");
    assert!(answer.starts_with(b"HTTP/1.1 429 "));
    sender.abort();
}

/// A client or a proxy that looks at the answer while it sends can stop.
#[tokio::test]
async fn the_head_of_the_answer_does_not_wait() {
    let server = Server::shared();
    let layer = denying(&server).await.drain_denied(BYTES, LONG);
    let server = serve(&layer).await;
    let mut client = RawClient::connect(&server).await;
    let mut request = with_length(2);
    let rest = request.pop().expect("a byte");
    for _ in 0..2 {
        client.send(&request).await;
        let head = client.head().await;
        client.send([rest]).await;
        assert!(!client.body(&head).await.is_empty());
    }
}

/// More than the bound is not read: one that is not announced, up to the bound.
#[tokio::test]
async fn a_sender_of_too_much_is_not_read_to_the_end() {
    let server = Server::shared();
    let layer = denying(&server).await.drain_denied(10_000, LONG);
    let server = serve(&layer).await;
    let mut announced = RawClient::connect(&server).await;
    announced
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10001\r\n\r\nx")
        .await;
    announced.answer(429).await;
    let mut unannounced = RawClient::connect(&server).await;
    let mut endless = chunked(11_000);
    endless.truncate(endless.len() - 5);
    unannounced.send(endless).await;
    unannounced.answer(429).await;
}

/// What has not been sent was waited for.
#[tokio::test]
async fn a_client_that_waits_for_100_is_answered_at_once() {
    let server = Server::shared();
    let layer = denying(&server).await.drain_denied(BYTES, LONG);
    let server = serve(&layer).await;
    for expect in ["100-continue", "100-Continue"] {
        let mut client = RawClient::connect(&server).await;
        let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000";
        client
            .send(format!("{head}\r\nexpect: {expect}\r\n\r\n"))
            .await;
        client.answer(429).await;
    }
}

#[tokio::test]
async fn without_bytes_or_time_nothing_is_read() {
    let server = Server::shared();
    let layer = denying(&server).await;
    for (bytes, time) in [(0, LONG), (BYTES, Duration::ZERO)] {
        let server = serve(&layer.clone().drain_denied(bytes, time)).await;
        let mut client = RawClient::connect(&server).await;
        client
            .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000\r\n\r\nx")
            .await;
        client.answer(429).await;
    }
}

/// A body of which one frame arrives and then nothing.
fn unfinished() -> BoxBody<Bytes, Infallible> {
    let first = Ok(Frame::data(Bytes::from("x")));
    let frames = futures_util::stream::iter([first]);
    let frames = futures_util::StreamExt::chain(frames, futures_util::stream::pending());
    BodyExt::boxed(StreamBody::new(frames))
}

/// RFC 9113 §8.1: the server can stop the stream by itself.
#[tokio::test]
async fn a_stream_of_http_2_is_answered_at_once() {
    let server = Server::shared();
    let layer = denying(&server).await.drain_denied(BYTES, LONG);
    let server = serve(&layer).await;
    let mut client = Http2::connect(&server).await;
    for _ in 0..2 {
        let request = Request::post(server.url("/")).body(unfinished());
        let answer = client.send(request.expect("a request"));
        let answer = timeout(SOON, answer).await.expect("an answer in time");
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(!answer.body().is_empty());
    }
}

#[tokio::test]
async fn an_error_of_the_body_ends_the_answer() {
    let server = Server::shared();
    let layer = denying(&server).await.drain_denied(BYTES, LONG);
    let service = layer.layer(service_fn(async |_: Request<_>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let frames = [Ok(Frame::data(Bytes::from("x"))), Err("the client is gone")];
    let frames = futures_util::stream::iter(frames);
    let frames = futures_util::StreamExt::chain(frames, futures_util::stream::pending());
    let answer = service.oneshot(Request::new(StreamBody::new(frames))).await;
    let body = timeout(SOON, answer.expect("an answer").collect()).await;
    let body = body.expect("an end in time").expect("a body");
    assert!(!body.to_bytes().is_empty());
}

/// A slow sender that an inner limit denied kept a place of the outer one.
#[tokio::test]
async fn no_place_is_held_while_the_rest_is_read() {
    let server = Server::shared();
    let inner = denying(&server).await.drain_denied(BYTES, LONG);
    let places = Policy::concurrency("one-at-once", 1);
    let outer = RateLimitLayer::new(patient(&server).await, places)
        .by(|_: &Parts| Some("everybody"))
        .fail_closed();
    let service = outer.layer(inner.layer(service_fn(async |_: Request<_>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    })));
    let mut answers = Vec::new();
    until("three answers of the inner limit", async || {
        let answer = service.clone().oneshot(Request::new(unfinished())).await;
        let answer = answer.expect("an answer");
        let decision = answer.extensions().get::<Decision>();
        // The outer limit denies until the place has been given back, which takes a command.
        if decision.expect("a decision").standing().policy() != "one-at-once" {
            answers.push(answer);
        }
        answers.len() == 3
    })
    .await;
}
