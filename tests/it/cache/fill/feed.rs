//! Bodies that a test feeds frame by frame.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Response;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::yield_now,
    time::timeout,
};
use tower::ServiceExt;
use tower_fred::CacheLayer;

use crate::cache::{Site, fresh, request};

pub type Fed = Result<Frame<Bytes>, &'static str>;

/// A body that a test feeds, and of which is counted what was pulled.
pub struct Feed {
    pub frames: UnboundedReceiver<Fed>,
    pub length: Option<u64>,
    pub pulled: Arc<AtomicUsize>,
}

impl http_body::Body for Feed {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Fed>> {
        let frame = self.frames.poll_recv(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            let length = frame.data_ref().map_or(0, Bytes::len);
            self.pulled.fetch_add(length, Ordering::SeqCst);
            self.length = self.length.map(|rest| rest - length as u64);
        }
        frame
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

pub fn data(text: &'static str) -> Fed {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// A site whose answers a test feeds: one feeder for each call.
pub struct Fedsite {
    pub site: Site,
    pub feeders: Arc<Mutex<Vec<Option<UnboundedSender<Fed>>>>>,
    pub pulled: Arc<AtomicUsize>,
}

impl Fedsite {
    pub async fn new(length: Option<u64>, max_body: usize) -> Self {
        let feeders: Arc<Mutex<Vec<_>>> = Arc::default();
        let pulled = Arc::new(AtomicUsize::new(0));
        let (all, count) = (Arc::clone(&feeders), Arc::clone(&pulled));
        let limited = |layer: CacheLayer| layer.max_body(max_body);
        let site = Site::with(limited, move |_| {
            let (feeder, frames) = unbounded_channel();
            all.lock().expect("feeders").push(Some(feeder));
            fresh(Body::new(Feed {
                frames,
                length,
                pulled: Arc::clone(&count),
            }))
        })
        .await;
        Self {
            site,
            feeders,
            pulled,
        }
    }

    pub async fn ask(&self) -> Response<tower_fred::cache::CacheBody<Body>> {
        let asked = self.site.service().oneshot(request("GET", "/", &[]));
        asked.await.expect("an answer")
    }

    /// Feeds the body of the call with this number.
    pub fn feed(&self, call: usize, frames: impl IntoIterator<Item = Fed>) {
        let feeders = self.feeders.lock().expect("feeders");
        let feeder = feeders[call].as_ref().expect("not ended");
        for frame in frames {
            // Nobody may be there any more.
            let _ = feeder.send(frame);
        }
    }

    pub fn end(&self, call: usize) {
        self.feeders.lock().expect("feeders")[call] = None;
    }

    pub fn pulled(&self) -> usize {
        self.pulled.load(Ordering::SeqCst)
    }

    /// Waits until an answer is stored.
    pub async fn stored(&self) {
        let stored = async {
            while self.site.keys().await.is_empty() {
                yield_now().await;
            }
        };
        timeout(PATIENCE, stored).await.expect("it is stored");
    }

    /// Somebody who asks for the same.
    pub fn waiter(&self) -> tokio::task::JoinHandle<Bytes> {
        let asked = self.site.service().oneshot(request("GET", "/", &[]));
        tokio::spawn(async move {
            let answer = asked.await.expect("an answer");
            let body = answer.into_body().collect().await;
            body.expect("a body").to_bytes()
        })
    }

    pub async fn called(&self, times: usize) {
        let called = async {
            while self.site.calls() < times {
                yield_now().await;
            }
        };
        timeout(PATIENCE, called).await.expect("a call");
    }
}

/// A body that is not there at once.
pub fn paced(parts: Vec<Bytes>) -> UnsyncBoxBody<Bytes, Infallible> {
    let frames = stream::iter(parts).then(|part| async {
        yield_now().await;
        Ok(Frame::data(part))
    });
    StreamBody::new(frames).boxed_unsync()
}

pub const PATIENCE: Duration = Duration::from_secs(30);
/// Nobody waits any longer for what another client does not read.
pub const SOON: Duration = Duration::from_secs(2);
