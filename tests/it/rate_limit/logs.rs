//! What an operator reads.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer,
    rate_limit::{Key, PeerAddr, Quota},
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
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let mut request = Request::new(());
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
