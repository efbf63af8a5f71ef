//! A handler that answers when the test permits it.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::{sync::Semaphore, time::timeout};
use tower::{Service, service_fn};
use tower_fred::Redis;

use crate::cache::{patient, reply};
use crate::support::Server;

/// A handler that waits for leave, then answers with its number.
#[derive(Clone)]
pub struct Gate {
    pub calls: Arc<AtomicUsize>,
    pub open: Arc<Semaphore>,
}

impl Gate {
    pub fn new() -> Self {
        Self {
            calls: Arc::default(),
            open: Arc::new(Semaphore::new(0)),
        }
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn service<E: Send + 'static>(
        &self,
        answer: impl Fn(usize) -> Result<Response<Body>, E> + Clone + Send + 'static,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = E, Future: Send>
    + Clone
    + Send
    + 'static {
        let gate = self.clone();
        service_fn(move |_: Request<Body>| {
            let (gate, answer) = (gate.clone(), answer.clone());
            async move {
                let number = gate.calls.fetch_add(1, Ordering::SeqCst) + 1;
                gate.open.acquire().await.expect("open").forget();
                answer(number)
            }
        })
    }

    /// Waits until the handler was called so often.
    pub async fn called(&self, times: usize) {
        let called = async {
            while self.calls() < times {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, called).await.expect("a call");
    }
}

/// The server lives as long as somebody has it.
pub async fn redis() -> (Arc<Server>, Redis) {
    let server = Server::shared();
    let redis = patient(&server).await;
    (server, redis)
}

pub async fn read<B>(response: Response<B>) -> Result<Bytes, B::Error>
where
    B: http_body::Body,
{
    Ok(response.into_body().collect().await?.to_bytes())
}

/// Gives those who were begun before this the time to wait for something: replies come in the order of the commands.
pub async fn settle(redis: &Redis) {
    for _ in 0..8 {
        redis.ping().await.expect("a sign of life");
    }
}

pub fn numbered(number: usize) -> Result<Response<Body>, Infallible> {
    Ok(reply(
        &[("cache-control", "max-age=60")],
        number.to_string(),
    ))
}

pub const PATIENCE: Duration = Duration::from_secs(30);
