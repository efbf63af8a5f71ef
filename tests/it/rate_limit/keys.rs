//! Whom a request counts against.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode, request::Parts};
use http_body_util::Full;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer, Redis,
    rate_limit::{
        AsyncKey, BearerToken, ForwardedIp, Header, Identity, Key, MatchedPath, Method, PeerAddr,
        PeerIp, Policy, Quota, RateLimiter,
    },
};

use super::patient;
use crate::support::{Server, http::HttpServer};

const TWO: Quota = Quota::per_day(2);
/// Only what Redis decides shall count.
fn limit(redis: Redis, quota: Quota) -> RateLimitLayer {
    RateLimitLayer::new(redis, quota).fail_closed()
}

const OK: StatusCode = StatusCode::OK;
const DENIED: StatusCode = StatusCode::TOO_MANY_REQUESTS;

/// The statuses that a layer answers these requests with.
async fn statuses<K: Key>(
    layer: &RateLimitLayer<K>,
    requests: Vec<Request<()>>,
) -> Vec<StatusCode> {
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(service.clone().oneshot(request).await.unwrap().status());
    }
    statuses
}

fn with<T: Clone + Send + Sync + 'static>(extension: T) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(extension);
    request
}

fn socket(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), 4711)
}

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
async fn a_header_field() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let name = HeaderName::from_static("x-api-key");
    let layer = limit(redis, TWO).by(Header::new(name.clone()));
    let long = vec![b'k'; 64 * 1024];
    let values: [&[u8]; 5] = [b"k1", b"k2", b"", b"\xff\xfe", &long];
    for value in values {
        let request = || {
            Request::get("/")
                .header(&name, value)
                .header(&name, "second")
        };
        let requests = (0..3).map(|_| request().body(()).unwrap()).collect();
        assert_eq!(statuses(&layer, requests).await, [OK, OK, DENIED]);
    }
}

#[tokio::test]
async fn functions_and_own_types() {
    struct Tenant;

    impl Key for Tenant {
        fn identity(&self, request: &Parts) -> Option<Identity> {
            Some(request.uri.path().into())
        }
    }

    let server = Server::shared();
    let redis = patient(&server).await;
    let by_path = |path: &str| Request::get(path).body(()).unwrap();
    let text = limit(redis.clone(), TWO).by(|parts: &Parts| Some(parts.uri.path().to_owned()));
    let number = limit(redis.clone(), TWO).by(|_: &Parts| Some(7));
    let own = limit(redis.clone(), TWO).by(Tenant);

    assert_eq!(
        statuses(&text, vec![by_path("/a"), by_path("/b")]).await,
        [OK, OK]
    );
    assert_eq!(
        statuses(&number, vec![by_path("/a"), by_path("/b"), by_path("/c")]).await,
        [OK, OK, DENIED]
    );
    // The same text is the same subject, whoever asks.
    assert_eq!(
        statuses(&own, vec![by_path("/a"), by_path("/a")]).await,
        [OK, DENIED]
    );
    let limiter = RateLimiter::new(redis, TWO);
    assert_eq!(limiter.check("/b").await.unwrap().remaining(), 0);
}

#[tokio::test]
async fn requests_without_a_key() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let requests = || (0..4).map(|_| Request::new(())).collect::<Vec<_>>();
    let layer = limit(redis, TWO);
    let allow = layer.clone().missing_key_allow();
    assert_eq!(statuses(&allow, requests()).await, [OK; 4]);
    let deny = layer.clone().missing_key_deny();
    assert_eq!(
        statuses(&deny, requests()).await,
        [StatusCode::BAD_REQUEST; 4]
    );
    // The default holds the limit, for all of them together.
    assert_eq!(statuses(&layer, requests()).await, [OK, OK, DENIED, DENIED]);
    assert_eq!(
        statuses(&layer, vec![with(socket("192.0.2.1"))]).await,
        [OK]
    );
    let shared = deny.missing_key_shared();
    assert_eq!(statuses(&shared, requests()).await, [DENIED; 4]);
}

fn from(peer: &str, field: &str, value: &[u8]) -> Request<()> {
    let mut request = Request::get("/")
        .header(field, value)
        .body(())
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
    let requests = (0..3).map(|_| Request::new(()));
    assert_eq!(statuses(&nul, requests.collect()).await, [OK, OK, DENIED]);
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

#[tokio::test]
async fn tokens_methods_and_tuples() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let request = |method: &str, authorization: &str| {
        let request = Request::builder().method(method);
        request
            .header("authorization", authorization)
            .body(())
            .unwrap()
    };
    let tokens = limit(redis.clone(), TWO).name("token").by(BearerToken);
    let requests = vec![
        request("GET", "Bearer a"),
        request("GET", "bearer  a "),
        request("GET", "BEARER a"),
        request("GET", "Bearer b"),
    ];
    assert_eq!(statuses(&tokens, requests).await, [OK, OK, DENIED, OK]);
    let denying = tokens.missing_key_deny();
    for other in ["Basic a", "Bearer", "Bearer ", "a"] {
        let status = statuses(&denying, vec![request("GET", other)]).await;
        assert_eq!(status, [StatusCode::BAD_REQUEST], "{other}");
    }

    let both = limit(redis.clone(), Quota::per_day(1))
        .name("both")
        .by((BearerToken, Method));
    let requests = [
        ("GET", "a"),
        ("POST", "a"),
        ("GET", "b"),
        ("GET", "a"),
        ("POST", "a"),
    ];
    let requests = requests.map(|(method, token)| request(method, &format!("Bearer {token}")));
    assert_eq!(
        statuses(&both, requests.into()).await,
        [OK, OK, OK, DENIED, DENIED]
    );
    // Without one of the parts there is no key.
    let denying = both.missing_key_deny();
    let status = statuses(&denying, vec![request("GET", "Basic a")]).await;
    assert_eq!(status, [StatusCode::BAD_REQUEST]);
}

#[tokio::test]
async fn keys_that_have_to_be_looked_for() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let owner = || {
        AsyncKey::new(|request: &Parts| {
            let path = request.uri.path().to_owned();
            async move {
                tokio::task::yield_now().await;
                path.strip_prefix("/of/")?.parse::<u64>().ok()
            }
        })
    };
    let get = |path: &str| Request::get(path).body(()).unwrap();
    let layer = limit(redis.clone(), Quota::per_day(1))
        .by(owner())
        .missing_key_deny();
    let requests = vec![get("/of/1"), get("/of/2"), get("/of/1"), get("/of/nobody")];
    let found = [OK, OK, DENIED, StatusCode::BAD_REQUEST];
    assert_eq!(statuses(&layer, requests).await, found);
    assert!(
        !RateLimiter::new(redis.clone(), Quota::per_day(1))
            .check(1)
            .await
            .unwrap()
            .is_allowed()
    );

    let both = limit(redis, Quota::per_day(1))
        .name("both")
        .by((Method, owner()));
    let requests = vec![
        get("/of/1"),
        Request::post("/of/1").body(()).unwrap(),
        get("/of/1"),
    ];
    assert_eq!(statuses(&both, requests).await, [OK, OK, DENIED]);
}

#[tokio::test]
async fn routes_and_session_users() {
    use tower_fred::{Session, SessionLayer, SessionUser};

    let server = Server::shared();
    let redis = patient(&server).await;
    let by_route = RateLimitLayer::new(redis.clone(), Policy::new("route", Quota::per_day(3)))
        .by((PeerIp, MatchedPath))
        .fail_closed();
    let by_user = RateLimitLayer::new(redis.clone(), Policy::new("user", TWO))
        .by(SessionUser)
        .missing_key_allow()
        .fail_closed();
    let login = async |session: Session| session.login("ada").map(|()| "welcome");
    let router = Router::new()
        .route("/items/{id}", get(async || "an item").layer(by_route))
        .route("/mine", get(async || "mine").layer(by_user))
        .route("/login", get(login))
        .layer(SessionLayer::new(redis));
    let server = HttpServer::axum(router).await;
    for (path, expected) in [
        ("/items/1", OK),
        ("/items/2", OK),
        ("/items/3", OK),
        ("/items/4", DENIED),
    ] {
        assert_eq!(server.get(path, &[]).await.status(), expected, "{path}");
    }
    // Nobody is logged in: not counted.
    for _ in 0..4 {
        assert_eq!(server.get("/mine", &[]).await.status(), OK);
    }
    // Two sessions of one user.
    let mut expected = [OK, OK, DENIED].into_iter();
    for devices in [2, 1] {
        let answer = server.get("/login", &[]).await;
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap();
        for _ in 0..devices {
            let status = server.get("/mine", &[("cookie", cookie)]).await.status();
            assert_eq!(Some(status), expected.next());
        }
    }
}
