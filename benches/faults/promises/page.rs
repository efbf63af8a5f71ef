//! Cached pages, and how each was answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::OriginalUri, routing::get};
use http::{Request, header};
use tokio::{sync::Notify, time::sleep};
use tower_fred::{
    CacheLayer, Redis,
    cache::{CacheStatus, Forward},
};

use crate::support::http::call;

/// An application whose pages are cached for a minute.
#[derive(Clone)]
pub(crate) struct Pages {
    router: Router,
    runs: Arc<AtomicUsize>,
    begun: Arc<Notify>,
}

/// How a page was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Hit,
    Miss,
    /// By the handler, since the cache could not be asked.
    Bypass,
    /// Not with the page that was asked for.
    Wrong,
}

impl Pages {
    /// The handler takes `load`.
    pub(crate) fn new(redis: &Redis, load: Duration) -> Self {
        let (runs, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let page = {
            let (runs, begun) = (Arc::clone(&runs), Arc::clone(&begun));
            async move |OriginalUri(uri): OriginalUri| {
                runs.fetch_add(1, Ordering::Relaxed);
                begun.notify_one();
                if !load.is_zero() {
                    // The work of the handler.
                    sleep(load).await;
                }
                uri.to_string()
            }
        };
        let layer = CacheLayer::new(redis.clone()).ttl(Duration::from_secs(60));
        Self {
            router: Router::new().route("/page", get(page).layer(layer)),
            runs,
            begun,
        }
    }

    /// How often the handler has run.
    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }

    /// Waits until the handler begins, or has begun since the last time.
    pub(crate) async fn begun(&self) {
        self.begun.notified().await;
    }

    pub(crate) async fn ask(&self, number: usize) -> (Answer, Duration) {
        let path = format!("/page?number={number}");
        let request = Request::get(&path).header(header::HOST, "shop.example");
        let request = request.body(Body::empty()).expect("a request");
        let begun = Instant::now();
        let (parts, body) = call(self.router.clone(), request).await.into_parts();
        let took = begun.elapsed();
        let status = parts.extensions.get::<CacheStatus>();
        let answer = match status.and_then(CacheStatus::forward) {
            _ if !parts.status.is_success() || body != path.as_bytes() => Answer::Wrong,
            None => Answer::Hit,
            Some(Forward::Bypass) => Answer::Bypass,
            Some(_) => Answer::Miss,
        };
        (answer, took)
    }

    /// Asks for the page until it is a hit.
    pub(crate) async fn warm(&self, number: usize) {
        while self.ask(number).await.0 != Answer::Hit {
            tokio::task::yield_now().await;
        }
    }
}
