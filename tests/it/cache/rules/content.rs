//! `GET` and `HEAD` with content: what a handler makes of it is in no key (RFC 9110 §9.3.1).

use std::{convert::Infallible, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_fred::CacheLayer;

use crate::cache::{is_hit, request, status};
use crate::support::{
    Server,
    http::{Http2, HttpServer},
};

/// Says what came with the request, and that everybody may have it.
async fn echo<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: http_body::Body,
{
    let is_head = request.method() == Method::HEAD;
    let Ok(content) = request.into_body().collect().await else {
        panic!("a body that breaks off");
    };
    let content = if is_head {
        Bytes::new()
    } else {
        content.to_bytes()
    };
    let response = Response::builder().header("cache-control", "max-age=3600");
    let answer = Full::from(content);
    Ok(response.body(answer).expect("a response"))
}

/// Also what must be kept until the end.
async fn site() -> (HttpServer, Arc<Server>) {
    let server = Server::shared();
    let layer = CacheLayer::new(server.redis().await);
    let http = HttpServer::hyper(layer.layer(service_fn(echo::<Incoming>))).await;
    (http, server)
}

/// Sends `head` and `content` as they are, and reads all of the answer.
async fn raw(server: &HttpServer, head: &str, content: &str) -> String {
    let mut stream = TcpStream::connect(server.address())
        .await
        .expect("connected");
    let all = format!(
        "{head}\r\nHost: {}\r\nConnection: close\r\n\r\n{content}",
        server.address()
    );
    stream.write_all(all.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    answer.to_lowercase()
}

#[tokio::test]
async fn content_over_http_1_reaches_nobody_else() {
    let (server, _redis) = site().await;
    for (at, (fields, content)) in [
        ("Content-Length: 4", "evil"),
        ("Transfer-Encoding: chunked", "4\r\nevil\r\n0\r\n\r\n"),
        (
            "Transfer-Encoding: chunked",
            "2\r\nev\r\n2\r\nil\r\n0\r\n\r\n",
        ),
        ("Transfer-Encoding: chunked", "0\r\n\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{at}");
        for method in ["GET", "HEAD", "GET"] {
            let answer = raw(
                &server,
                &format!("{method} {path} HTTP/1.1\r\n{fields}"),
                content,
            )
            .await;
            assert!(answer.contains("fwd=bypass; detail=content"), "{answer}");
        }
        let plain = server.get(&path, &[]).await;
        assert_eq!(plain.body(), "", "{fields}");
    }
    // A length of zero is none.
    let of_zero = async || raw(&server, "GET /zero HTTP/1.1\r\nContent-Length: 0", "").await;
    while !of_zero().await.contains("; hit") {}
}

/// `Content-Length` was all that was looked at, and HTTP/2 needs none: what one client sent was served to everybody.
#[tokio::test]
async fn content_over_http_2_reaches_nobody_else() {
    let (server, _redis) = site().await;
    let mut client = Http2::connect(&server).await;
    let frames = |all: &'static [&'static str]| {
        let frames = all
            .iter()
            .map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes()))));
        StreamBody::new(stream::iter(frames)).boxed()
    };
    for (at, sent) in [
        &["evil"][..],
        &["ev", "", "il"],
        &["", "evil"],
        &["evil", ""],
    ]
    .into_iter()
    .enumerate()
    {
        let url = server.url(&format!("/{at}"));
        for method in [Method::GET, Method::HEAD, Method::GET] {
            let asked = Request::builder().method(method.clone()).uri(&url);
            let answer = client
                .send(asked.body(frames(sent)).expect("a request"))
                .await;
            assert_eq!(answer.version(), Version::HTTP_2);
            let told = answer.headers()["cache-status"].to_str().expect("ASCII");
            assert!(told.contains("fwd=bypass; detail=content"), "{told}");
            if method == Method::GET {
                assert_eq!(answer.body(), "evil");
            }
        }
        let plain = Request::get(&url)
            .body(Empty::new().boxed())
            .expect("a request");
        assert_eq!(client.send(plain).await.body(), "", "{sent:?}");
    }
    // The end comes after the head, in a frame of its own: it counts as content.
    let late = Request::get(server.url("/late"))
        .body(frames(&[]))
        .expect("a request");
    assert_eq!(client.send(late).await.body(), "");
    // With a head that is the end, or a length of zero, there is none.
    for fields in [&[][..], &[("content-length", "0")]] {
        loop {
            let mut asked = Request::get(server.url("/plain"));
            for (name, value) in fields {
                asked = asked.header(*name, *value);
            }
            let plain = asked.body(Empty::new().boxed()).expect("a request");
            let answer = client.send(plain).await;
            let told = answer.headers()["cache-status"].to_str().expect("ASCII");
            assert!(!told.contains("bypass"), "{told}");
            if told.contains("; hit") {
                break;
            }
        }
    }
}

#[tokio::test]
async fn content_that_a_layer_puts_in_reaches_nobody_else() {
    let server = Server::shared();
    let redis = server.redis().await;
    let service = CacheLayer::new(redis).layer(service_fn(echo::<Body>));
    let send = async |method: &str, path: &str, body: Body| {
        let asked = request(method, path, &[]).map(|_| body);
        let response = service.clone().oneshot(asked).await.expect("an answer");
        let told = status(&response);
        let body = response.into_body().collect().await.expect("a body");
        (told, body.to_bytes())
    };
    let streamed = |all: &'static [&'static str]| {
        Body::from_stream(stream::iter(
            all.iter().map(|text| Ok::<_, Infallible>(*text)),
        ))
    };
    for (path, bodies) in [
        ("/known", [Body::from("evil"), Body::from("evil")]),
        ("/streamed", [streamed(&["evil"]), streamed(&["ev", "il"])]),
        ("/late", [streamed(&["", "evil"]), streamed(&["evil"])]),
    ] {
        for (method, body) in ["GET", "HEAD"].into_iter().zip(bodies) {
            let (told, _) = send(method, path, body).await;
            assert_eq!(told.to_string(), "fwd=bypass; detail=content");
        }
        assert_eq!(send("GET", path, Body::empty()).await.1, "");
        // Nor is it answered from what is stored.
        let (told, answer) = send("GET", path, streamed(&["mine"])).await;
        assert!(!told.is_hit() && answer == "mine");
    }
}

/// What is empty and does not say so in every way is still answered from the cache, where it says so in one.
#[tokio::test]
async fn empty_bodies_of_all_kinds_are_answered_from_the_cache() {
    let server = Server::shared();
    let redis = server.redis().await;
    for body in [
        || Body::empty(),
        || Body::from(""),
        || Body::new(Full::<Bytes>::default()),
        || Body::new(Empty::<Bytes>::new().boxed()),
        || Body::new(http_body_util::Limited::new(Body::empty(), 10)),
        || Body::new(String::new()),
    ] {
        let layer = CacheLayer::new(redis.clone());
        let mut service = layer.layer(service_fn(echo::<Body>));
        loop {
            let asked = request("GET", "/a", &[]).map(|_| body());
            let response = service.ready().await.expect("ready").call(asked).await;
            let response = response.expect("an answer");
            assert_ne!(status(&response).to_string(), "fwd=bypass; detail=content");
            let is_hit = is_hit(&response);
            response.into_body().collect().await.expect("a body");
            if is_hit {
                break;
            }
        }
    }
}
