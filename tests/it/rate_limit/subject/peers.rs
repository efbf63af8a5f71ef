//! The peer of the connection, and the networks that addresses are in.

use std::{convert::Infallible, net::IpAddr};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{ServiceBuilder, service_fn};
use tower_fred::rate_limit::{ForwardedIp, PeerAddr, PeerIp, Quota, RateLimiter};

use super::{DENIED, OK, TWO, limit, socket, statuses, with};
use crate::{
    rate_limit::patient,
    support::{Server, http::HttpServer},
};

#[tokio::test]
async fn the_peer_of_axum() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let router = Router::new()
        .route("/", get(async || "hello").post(async || "posted"))
        .layer(limit(redis.clone(), Quota::per_day(3)));
    let server = HttpServer::axum(router).await;
    // It comes from the connection, whatever the header fields claim.
    for (expected, claim) in [
        (OK, "192.0.2.1"),
        (OK, "192.0.2.2"),
        (OK, "192.0.2.3"),
        (DENIED, "192.0.2.4"),
    ] {
        let claims = [("x-forwarded-for", claim), ("forwarded", "for=192.0.2.9")];
        assert_eq!(server.get("/", &claims).await.status(), expected);
    }
    let limiter = RateLimiter::new(redis, Quota::per_day(3));
    let here: IpAddr = "127.0.0.1".parse().unwrap();
    assert!(!limiter.check(here).await.unwrap().is_allowed());
}

#[tokio::test]
async fn the_peer_of_plain_hyper() {
    let server = Server::shared();
    let redis = patient(&server).await;
    // Stands for the loop that accepts connections: the test says in a header field whose request it is.
    let peer = |mut request: Request<_>| {
        let headers: &http::HeaderMap = request.headers();
        let ip = headers["x-test-peer"].to_str().unwrap();
        let peer = PeerAddr(socket(ip));
        request.extensions_mut().insert(peer);
        request
    };
    let service = ServiceBuilder::new()
        .map_request(peer)
        .layer(limit(redis, TWO))
        .service(service_fn(async |_: Request<hyper::body::Incoming>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
        }));
    let server = HttpServer::hyper(service).await;
    for (peer, expected) in [
        ("192.0.2.1", OK),
        ("::ffff:192.0.2.1", OK),
        ("::ffff:c000:201", DENIED),
        ("192.0.2.2", OK),
        ("2001:db8::1", OK),
        ("2001:db8::abcd:1:2:3", OK),
        ("2001:db8::2", DENIED),
        ("2001:db8:0:1::1", OK),
    ] {
        let response = server.get("/", &[("x-test-peer", peer)]).await;
        assert_eq!(response.status(), expected, "{peer}");
    }
}

#[tokio::test]
async fn the_peer_from_any_extension() {
    use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};

    let server = Server::shared();
    let layer = limit(patient(&server).await, Quota::per_day(4));
    let address = socket("192.0.2.1");
    let requests = vec![
        with(PeerAddr(address)),
        with(ConnectInfo(address)),
        with(MockConnectInfo(address)),
        with(address),
        with(PeerAddr(address)),
    ];
    assert_eq!(statuses(&layer, requests).await, [OK, OK, OK, OK, DENIED]);

    // What the application says goes before what the connection is.
    let mut request = with(ConnectInfo(address));
    request
        .extensions_mut()
        .insert(PeerAddr(socket("192.0.2.2")));
    assert_eq!(statuses(&layer, vec![request]).await, [OK]);
}

#[tokio::test]
async fn addresses_of_one_network_share() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let in_network = |number: u32| {
        format!(
            "2001:db8:7:8:{:x}:{:x}::1",
            number * 641 % 65_536,
            number / 7
        )
    };
    let rotating = |prefix: &str| {
        let prefix = prefix.to_owned();
        (0..100).map(move |number| {
            let ip = in_network(number).replace("2001:db8:7:8", &prefix);
            with(PeerAddr(socket(&ip)))
        })
    };
    let admitted = |statuses: Vec<StatusCode>| statuses.iter().filter(|one| **one == OK).count();
    let by_peer = limit(redis.clone(), TWO).name("64");
    assert_eq!(
        admitted(statuses(&by_peer, rotating("2001:db8:7:8").collect()).await),
        2
    );
    assert_eq!(
        admitted(statuses(&by_peer, rotating("2001:db8:7:9").collect()).await),
        2
    );
    let by_site = limit(redis.clone(), TWO)
        .name("56")
        .by(PeerIp.ipv6_prefix(56));
    assert_eq!(
        admitted(statuses(&by_site, rotating("2001:db8:7:8").collect()).await),
        2
    );
    assert_eq!(
        admitted(statuses(&by_site, rotating("2001:db8:7:9").collect()).await),
        0
    );
    let alone = limit(redis, TWO)
        .name("128")
        .by(ForwardedIp::trusting_hops(0).ipv6_prefix(128));
    assert_eq!(
        admitted(statuses(&alone, rotating("2001:db8:7:8").collect()).await),
        100
    );
}
