//! Permissions that are taken away while the application runs.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Instant,
};

use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    CacheLayer, RateLimitLayer, Redis, Session, SessionLayer,
    fred::{
        interfaces::ClientLike,
        types::{ClusterHash, CustomCommand},
    },
    rate_limit::Quota,
};

use crate::support::Server;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// How many lines there are of each kind, which is what comes before the first field.
    fn kinds(&self) -> BTreeMap<String, usize> {
        let text = String::from_utf8(self.0.lock().expect("the log").clone()).expect("text");
        let mut kinds = BTreeMap::new();
        for line in text.lines().filter(|line| line.contains("tower_fred::")) {
            let (_, kind) = line.split_once("tower_fred::").unwrap_or_default();
            let kind = kind.split('=').next().unwrap_or_default();
            *kinds.entry(kind.to_owned()).or_default() += 1;
        }
        kinds
    }
}

/// Each request left a line, of every layer that was refused.
#[tokio::test]
async fn what_a_user_may_no_longer_do_is_logged_once_a_second() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let server = Server::start();
    let admin = server.admin().await;
    let acl = async |rules: &[&str]| {
        let command = CustomCommand::new_static("ACL", ClusterHash::Random, false);
        let words: Vec<String> = ["SETUSER", "shop"]
            .iter()
            .chain(rules)
            .map(ToString::to_string)
            .collect();
        let _: () = admin.custom(command, words).await.expect("ACL");
    };
    acl(&["on", ">secret", "~*", "&*", "+@all"]).await;
    let url = format!("redis://shop:secret@127.0.0.1:{}", server.port());
    let redis = Redis::connect(&url).await.expect("a handle");
    let cache = CacheLayer::new(redis.clone());
    let sessions = SessionLayer::new(redis.clone());
    let limit = RateLimitLayer::new(redis, Quota::per_second(100_000));
    acl(&["-@all", "+ping"]).await;

    let begin = Instant::now();
    for number in 0..100 {
        let method = if number % 2 == 0 { "GET" } else { "POST" };
        let request = Request::builder()
            .method(method)
            .uri("http://shop.example/page")
            .body(String::new())
            .expect("a request");
        let handler = service_fn(async |request: Request<String>| {
            if let Some(session) = request.extensions().get::<Session>() {
                let _ = session.insert("theme", "dark");
            }
            let response = Response::builder().header("cache-control", "max-age=60");
            Ok::<_, Infallible>(response.body(String::new()).expect("a response"))
        });
        let layered = limit.layer(sessions.layer(handler));
        let _ = layered.oneshot(request).await;

        let request = Request::builder()
            .method(method)
            .uri("http://shop.example/page")
            .body(String::new())
            .expect("a request");
        let handler = service_fn(async |_: Request<String>| {
            Ok::<_, Infallible>(Response::new(String::new()))
        });
        let _ = cache.layer(handler).oneshot(request).await;
    }
    let kinds = log.kinds();
    assert!(!kinds.is_empty(), "nothing was said");
    let most = 1 + begin.elapsed().as_secs() as usize;
    assert!(kinds.values().all(|lines| *lines <= most), "{kinds:#?}");
}
