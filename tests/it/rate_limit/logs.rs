//! What an operator reads.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use http::{Request, Response, request::Parts};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer,
    rate_limit::{AsyncKey, ForwardedIp, Key, Method, PeerAddr, PeerIp, Policy, Quota},
};

use crate::support::Server;

/// The log of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn of_this_thread() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines of the limiter with this level; all of them for no level.
    fn lines(&self, level: &str) -> Vec<String> {
        let bytes = self.0.lock().expect("the log").clone();
        let text = String::from_utf8(bytes).expect("text");
        text.lines()
            .filter(|line| line.contains("tower_fred::rate_limit") && line.contains(level))
            .map(ToOwned::to_owned)
            .collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn send<K: Key>(layer: &RateLimitLayer<K>, peer: Option<&str>) {
    let service = layer.layer(service_fn(async |_: Request<String>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let mut request = Request::new(String::new());
    if let Some(ip) = peer {
        let ip: IpAddr = ip.parse().expect("an address");
        request.extensions_mut().insert(PeerAddr((ip, 1).into()));
    }
    let Ok(_) = service.oneshot(request).await;
}

#[tokio::test]
async fn a_missing_key_is_logged_once() {
    let server = Server::shared();
    let (log, _guard) = Log::of_this_thread();
    let layer = RateLimitLayer::new(server.redis().await, Quota::per_day(9)).name("site");
    for _ in 0..3 {
        send(&layer, None).await;
    }
    let [line]: [String; 1] = log.lines("WARN").try_into().expect("one warning");
    for word in ["ConnectInfo<SocketAddr>", "PeerAddr", "site", "Share"] {
        assert!(line.contains(word), "{line}");
    }
}

/// Behind a proxy the default key made all clients one subject, and nothing told the operator.
#[tokio::test]
async fn a_proxy_that_is_counted_as_one_client_is_logged_once() {
    let server = Server::shared();
    let redis = server.redis().await;
    let (log, _guard) = Log::of_this_thread();
    let layer = || RateLimitLayer::new(redis.clone(), Quota::per_day(99)).name("site");
    async fn forwarded<K: Key>(layer: &RateLimitLayer<K>, field: &str) {
        let service = layer.layer(service_fn(async |_: Request<String>| {
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
        let peer = IpAddr::from([127, 0, 0, 1]);
        let request = Request::get("/").header(field, "for=192.0.2.77");
        let request = request.extension(PeerAddr((peer, 1).into()));
        let Ok(_) = service
            .oneshot(request.body(String::new()).expect("a request"))
            .await;
    }
    let by_peer = layer();
    forwarded(&by_peer, "accept").await;
    forwarded(
        &layer().by(ForwardedIp::trusting_hops(1)),
        "x-forwarded-for",
    )
    .await;
    forwarded(&layer().by(|_: &Parts| Some("all")), "x-forwarded-for").await;
    assert!(log.lines("WARN").is_empty(), "{:?}", log.lines("WARN"));
    for field in ["X-Forwarded-For", "forwarded", "x-forwarded-for"] {
        forwarded(&by_peer, field).await;
    }
    forwarded(&layer().by((Method, PeerIp.ipv6_prefix(56))), "forwarded").await;
    forwarded(
        &layer()
            .by(Method)
            .and_by(PeerIp, Policy::new("peer", Quota::per_day(99))),
        "x-forwarded-for",
    )
    .await;
    let lines = log.lines("WARN");
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for line in lines {
        assert!(
            line.contains("site") && line.contains("ForwardedIp"),
            "{line}"
        );
        assert!(!line.contains("192.0.2.77"), "{line}");
    }
}

#[tokio::test]
async fn an_outage_is_logged_once_and_nobody_is_named() {
    let server = Server::start();
    let (log, _guard) = Log::of_this_thread();
    let layer = RateLimitLayer::new(server.redis().await, Quota::per_day(1)).no_denial_memory();
    send(&layer, Some("192.0.2.77")).await;
    send(&layer, Some("192.0.2.77")).await;
    server.kill();
    for _ in 0..3 {
        send(&layer, Some("192.0.2.77")).await;
    }
    let [line]: [String; 1] = log.lines("WARN").try_into().expect("one warning");
    assert!(line.contains("Local"), "{line}");
    // One denial by Redis, two by this process.
    let all = log.lines("");
    assert_eq!(all.len(), 4, "{all:#?}");
    assert!(!all.concat().contains("192.0.2.77"), "{all:#?}");
}

/// An upgraded connection that nobody counts was no news.
#[tokio::test]
async fn an_upgrade_without_its_place_is_logged_once() {
    let server = Server::shared();
    let (log, _guard) = Log::of_this_thread();
    let policy = Policy::concurrency("sockets", 2);
    let layer = RateLimitLayer::new(server.redis().await, policy);
    let answers = |method: &'static str, status: u16| {
        let service = layer.layer(service_fn(move |_: Request<String>| async move {
            let response = Response::builder().status(status);
            Ok::<_, Infallible>(response.body(String::new()).expect("a response"))
        }));
        let request = Request::builder().method(method).uri("example.com:80");
        service.oneshot(request.body(String::new()).expect("a request"))
    };
    for (method, status) in [("CONNECT", 405), ("CONNECT", 200), ("GET", 101)] {
        let Ok(_) = answers(method, status).await;
    }
    let lines = log.lines("WARN");
    let upgrades: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("upgraded"))
        .collect();
    let [line] = upgrades[..] else {
        panic!("one warning: {lines:?}");
    };
    assert!(line.contains("sockets"), "{line}");
}

/// A search that failed was logged as a missing key.
#[tokio::test]
async fn a_search_that_fails_is_logged_as_what_it_is() {
    let server = Server::shared();
    let (log, _guard) = Log::of_this_thread();
    let layer = RateLimitLayer::new(server.redis().await, Quota::per_day(9)).by(AsyncKey::try_new(
        |request: &Parts| {
            let fails = request.extensions.get::<PeerAddr>().is_none();
            async move {
                if fails {
                    Err("no database")
                } else {
                    Ok(Some(1))
                }
            }
        },
    ));
    for peer in [None, None, Some("192.0.2.1"), None, None] {
        send(&layer, peer).await;
    }
    let lines = log.lines("WARN");
    // One a second, however often it works again meanwhile.
    let [line] = &lines[..] else {
        panic!("{lines:#?}");
    };
    let is_told = line.contains("cannot look up") && line.contains("no database");
    assert!(is_told, "{line}");
}
