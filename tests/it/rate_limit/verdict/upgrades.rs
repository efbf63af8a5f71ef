//! Places of connections that are upgraded.

use std::{convert::Infallible, time::Duration};

use axum::{Router, extract::WebSocketUpgrade, response::Response as AxumResponse, routing::get};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tower::{Layer, service_fn};
use tower_fred::{
    RateLimitLayer, Redis,
    fred::clients::Client,
    rate_limit::{Places, Policy},
};

use super::{held, until_held};
use crate::{
    rate_limit::{command, patient},
    support::{Server, http::HttpServer},
};

fn everybody(_: &Parts) -> Option<u64> {
    Some(1)
}

fn limit(redis: &Redis) -> RateLimitLayer<fn(&Parts) -> Option<u64>> {
    RateLimitLayer::new(redis.clone(), Policy::concurrency("sockets", 2))
        .by(everybody as fn(&Parts) -> Option<u64>)
        .fail_closed()
}

/// An upgraded connection, or the status that refused it.
async fn open(server: &HttpServer) -> Result<BufReader<TcpStream>, String> {
    let address = server.url("").replace("http://", "");
    let stream = TcpStream::connect(address).await.expect("the server");
    let mut stream = BufReader::new(stream);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(
            stream.read_line(&mut head).await.expect("a line") > 0,
            "{head}"
        );
    }
    match head.starts_with("HTTP/1.1 101") {
        true => Ok(stream),
        false => Err(head),
    }
}

/// The place was given back with the body of the 101, which ends at once: six of six connections were open under a limit of
/// two.
async fn two_of_six_are_open(web: &HttpServer, admin: &Client, namespace: &str) {
    let mut opened = Vec::new();
    for number in 0..6 {
        match open(web).await {
            Ok(stream) => opened.push(stream),
            Err(head) => assert!(number >= 2 && head.starts_with("HTTP/1.1 429"), "{head}"),
        }
        until_held(admin, namespace, opened.len()).await;
    }
    assert_eq!(opened.len(), 2);
    // One ends, and another may come.
    drop(opened.pop());
    until_held(admin, namespace, 1).await;
    opened.push(open(web).await.expect("a place"));
    until_held(admin, namespace, 2).await;
    opened.clear();
    until_held(admin, namespace, 0).await;
}

#[tokio::test]
async fn a_web_socket_of_axum_keeps_its_place() {
    let server = Server::shared();
    let (admin, redis) = (server.admin().await, patient(&server).await);
    let socket = async |upgrade: WebSocketUpgrade, places: Places| -> AxumResponse {
        let place = places.guard();
        upgrade.on_upgrade(async move |mut socket| {
            while let Some(Ok(_)) = socket.recv().await {}
            drop(place);
        })
    };
    let router = Router::new().route("/", get(socket)).layer(limit(&redis));
    let web = HttpServer::axum(router).await;
    two_of_six_are_open(&web, &admin, redis.namespace()).await;
}

/// Upgrades as hyper has them. With `keeps` the connection keeps its place.
async fn hyper_server(redis: &Redis, keeps: bool) -> HttpServer {
    let service = limit(redis).layer(service_fn(move |request: Request<Incoming>| async move {
        let places = request.extensions().get::<Places>().cloned();
        let place = places.filter(|_| keeps).map(|places| places.guard());
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(request).await.expect("an upgrade");
            let mut rest = Vec::new();
            let _ = TokioIo::new(upgraded).read_to_end(&mut rest).await;
            drop(place);
        });
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket");
        Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).expect("a response"))
    }));
    HttpServer::hyper(service).await
}

#[tokio::test]
async fn an_upgrade_of_hyper_keeps_its_place() {
    let server = Server::shared();
    let (admin, redis) = (server.admin().await, patient(&server).await);
    let web = hyper_server(&redis, true).await;
    two_of_six_are_open(&web, &admin, redis.namespace()).await;
}

#[tokio::test]
async fn without_a_guard_the_place_is_free_at_once() {
    let server = Server::shared();
    let (admin, redis) = (server.admin().await, patient(&server).await);
    let web = hyper_server(&redis, false).await;
    let mut opened = Vec::new();
    for _ in 0..4 {
        opened.push(open(&web).await.expect("a place"));
        until_held(&admin, redis.namespace(), 0).await;
    }
}

/// A handler that keeps its place beyond its process's patience is renewed like any other.
#[tokio::test]
async fn a_guard_is_renewed_and_outlives_the_response() {
    let server = Server::shared();
    let (admin, redis) = (server.admin().await, patient(&server).await);
    let lease = Duration::from_secs(2);
    let policy = Policy::concurrency("jobs", 1).lease(lease);
    let layer = RateLimitLayer::new(redis.clone(), policy)
        .by(everybody)
        .fail_closed();
    let (send, mut guards) = tokio::sync::mpsc::unbounded_channel();
    let service = layer.layer(service_fn(move |request: Request<String>| {
        let places: Places = request.extensions().get().cloned().unwrap_or_default();
        let _ = send.send((places.guard(), places));
        async { Ok::<_, Infallible>(Response::new(String::new())) }
    }));
    let response = tower::ServiceExt::oneshot(service, Request::new(String::new())).await;
    drop(response.expect("infallible"));
    let (guard, places) = guards.recv().await.expect("a guard");
    let key = crate::rate_limit::only_key(&admin, redis.namespace()).await;
    let ends = async || -> String {
        let members: Vec<String> =
            command(&admin, "ZRANGE", &[&key, "0", "-1", "WITHSCORES"]).await;
        members[1].clone()
    };
    let first = ends().await;
    while ends().await == first {}
    drop(guard);
    until_held(&admin, redis.namespace(), 0).await;
    // There is nothing left to keep.
    drop(places.guard());
    assert_eq!(held(&admin, redis.namespace()).await, 0);
}
