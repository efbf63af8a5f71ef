//! Addresses that proxies report, and header fields that an attacker chooses.

use http::{Request, request::Parts};
use tower_fred::rate_limit::{BearerToken, ForwardedIp, PeerAddr};

use super::{DENIED, OK, TWO, limit, socket, statuses};
use crate::{rate_limit::patient, support::Server};

fn from(peer: &str, field: &str, value: &[u8]) -> Request<String> {
    let mut request = Request::get("/")
        .header(field, value)
        .body(String::new())
        .expect("as arranged");
    request.extensions_mut().insert(PeerAddr(socket(peer)));
    request
}

#[tokio::test]
async fn a_claim_counts_only_through_a_trusted_proxy() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let proxies = || ForwardedIp::trusting(["10.0.0.0/8"]).unwrap();
    let fields = [
        (proxies(), "x-forwarded-for", ""),
        (proxies().forwarded(), "forwarded", "for="),
        (proxies().x_real_ip(), "x-real-ip", ""),
    ];
    for (number, (key, field, prefix)) in fields.into_iter().enumerate() {
        let layer = limit(redis.clone(), TWO)
            .name(&format!("n{number}"))
            .by(key);
        let claim = |number: usize| format!("{prefix}198.51.100.{}", number % 250);
        // A stranger who claims another address each time is one subject.
        let spoofed = (0..50).map(|number| from("203.0.113.9", field, claim(number).as_bytes()));
        let spoofed = statuses(&layer, spoofed.collect()).await;
        assert_eq!(
            spoofed.iter().filter(|status| **status == OK).count(),
            2,
            "{field}"
        );
        // Through the proxy each address is one.
        let told = (0..9).map(|number| from("10.1.1.1", field, claim(number).as_bytes()));
        assert_eq!(statuses(&layer, told.collect()).await, [OK; 9], "{field}");
        let again = (0..2).map(|_| from("10.1.1.1", field, claim(0).as_bytes()));
        assert_eq!(
            statuses(&layer, again.collect()).await,
            [OK, DENIED],
            "{field}"
        );
        if field != "x-real-ip" {
            // What the client wrote before what the proxy wrote does not matter.
            let spoofed = (20..50).map(|number| {
                let chain = format!("{}, {prefix}192.0.2.77", claim(number));
                from("10.1.1.1", field, chain.as_bytes())
            });
            let spoofed = statuses(&layer, spoofed.collect()).await;
            assert_eq!(
                spoofed.iter().filter(|status| **status == OK).count(),
                2,
                "{field}"
            );
        }
    }
}

#[tokio::test]
async fn nasty_values_are_harmless() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let long = vec![b'9'; 64 * 1024];
    let commas = vec![b','; 64 * 1024];
    let quotes = vec![b'"'; 64 * 1024];
    let values: [&[u8]; 8] = [
        b"",
        b"{}",
        b"\xff\xfe\xc3\x28",
        b"for=\"\\",
        b"Bearer ",
        &long,
        &commas,
        &quotes,
    ];
    let proxies = || ForwardedIp::trusting(["10.0.0.0/8"]).unwrap();
    let layer = limit(redis.clone(), TWO);
    for (number, value) in values.iter().enumerate() {
        let name = |field: &str| format!("{field}{number}");
        let send = async |key: &dyn Fn() -> ForwardedIp, field: &str| {
            let layer = layer.clone().name(&name(field)).by(key());
            let requests = (0..3).map(|_| from("10.1.1.1", field, value));
            assert_eq!(
                statuses(&layer, requests.collect()).await,
                [OK, OK, DENIED],
                "{value:?}"
            );
        };
        send(&proxies, "x-forwarded-for").await;
        send(&|| proxies().forwarded(), "forwarded").await;
        send(&|| proxies().x_real_ip(), "x-real-ip").await;
        let layer = layer.clone().name(&name("token")).by(BearerToken);
        let requests = (0..3).map(|_| from("10.1.1.1", "authorization", value));
        assert_eq!(
            statuses(&layer, requests.collect()).await,
            [OK, OK, DENIED],
            "{value:?}"
        );
    }
    // No header value has a NUL; a closure may give one.
    let nul = limit(redis, TWO)
        .name("nul")
        .by(|_: &Parts| Some("\0{}*\r\n"));
    let requests = (0..3).map(|_| Request::new(String::new()));
    assert_eq!(statuses(&nul, requests.collect()).await, [OK, OK, DENIED]);
}
