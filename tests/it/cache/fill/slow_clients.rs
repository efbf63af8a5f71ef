//! Clients that stop reading do not delay other clients.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tower::{Layer, service_fn};
use tower_fred::CacheLayer;

use super::feed::{PATIENCE, SOON, paced};
use crate::cache::patient;
use crate::support::{Server, http::HttpServer};

#[allow(clippy::needless_pass_by_value, reason = "of one type with `paced`")]
fn whole(parts: Vec<Bytes>) -> UnsyncBoxBody<Bytes, Infallible> {
    Full::from(parts.concat()).boxed_unsync()
}

/// The answer of a server for a URL that may name another one, to a client that takes so much at once.
async fn http_2(
    server: &HttpServer,
    url: &http::Uri,
    window: u32,
) -> (
    Response<Incoming>,
    tokio::task::JoinHandle<hyper::Result<()>>,
) {
    let address = server.url("").replace("http://", "");
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (mut client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let asked = Request::get(url.clone()).body(Empty::<Bytes>::new());
    let answer = client.send_request(asked.expect("a request")).await;
    (answer.expect("an answer"), connection)
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
        let (stalled, connection) = http_2(&here, &url, 1024).await;
        assert_eq!(stalled.version(), Version::HTTP_2);

        // The same URL, which the host is part of.
        for server in [&here, &elsewhere] {
            let answer = async {
                let (answer, connection) = http_2(server, &url, 1 << 20).await;
                let body = answer.into_body().collect().await.expect("a body");
                connection.abort();
                body.to_bytes()
            };
            let body = timeout(SOON, answer).await.expect("at once");
            assert_eq!(body, expected);
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
