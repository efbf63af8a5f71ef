//! Reads the handler's body into the cache, at the pace of the handler and not of the client.
//!
//! The frames that are ready are read before the head is sent; most bodies are complete then. A task reads the rest, and the
//! client reads from the buffer that they share, by a [`reader`](super::reader). The client reads the handler's body itself
//! when the answer cannot be stored, or when no task can be started.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http_body::Body;
use tokio::{sync::OwnedSemaphorePermit, task::coop::consume_budget, time::timeout};

use super::{
    body::CacheBody,
    body_frame::{BodyFrame, poll_body_frame},
    entry::Fill,
    incomplete_body::{IncompleteBody, Next},
    reader::Shared,
};
use crate::cache::{rules::body_limits::Limits, state::fill_tasks::FillTasks};

/// Starts to copy `body` into `fill`. The second value says whether the copy is complete and stored already.
pub(crate) async fn copied<B>(
    body: B,
    fill: Fill,
    limits: Limits,
    fill_tasks: &FillTasks,
) -> (CacheBody<B>, bool)
where
    B: Body + Send + 'static,
    B::Error: Send,
{
    let mut incomplete = IncompleteBody::new(fill, limits, body.size_hint());
    let mut body = Box::pin(body);
    let next = match body.is_end_stream() {
        true => incomplete.end(),
        false => poll_fn(|cx| Poll::Ready(read_ready(body.as_mut(), &mut incomplete, cx))).await,
    };
    match next {
        Next::More => {}
        Next::End => {
            return match incomplete.whole() {
                Some((body, is_stored)) => (CacheBody::own(body), is_stored),
                None => (CacheBody::read(Shared::new(incomplete)), false),
            };
        }
        Next::Rest => {
            let shared = Shared::new(incomplete.followed_by(body));
            return (CacheBody::read(shared), false);
        }
    }
    let Some((runtime, permit)) = fill_tasks.room() else {
        let shared = Shared::new(incomplete.followed_by(body));
        return (CacheBody::read(shared), false);
    };
    let shared = Arc::new(Shared::new(incomplete));
    let task = Task {
        body: Some(body),
        shared: Arc::clone(&shared),
        _permit: permit,
    };
    runtime.spawn(task.run());
    (CacheBody::read_from(shared), false)
}

/// Reads frames until one is not ready, or until it is time to let other tasks run.
fn read_ready<B: Body>(
    mut body: Pin<&mut B>,
    incomplete: &mut IncompleteBody<B, B::Error>,
    cx: &mut Context<'_>,
) -> Next {
    for _ in 0..MOST_READY {
        let Poll::Ready(piece) = poll_body_frame(body.as_mut(), cx) else {
            return Next::More;
        };
        match incomplete.take_in(piece) {
            Next::More => {}
            last => return last,
        }
    }
    Next::More
}

/// The task that reads a body to its end, also after its client has left.
struct Task<B, E> {
    /// `None` after its end, or when the client reads it.
    body: Option<Pin<Box<B>>>,
    shared: Arc<Shared<B, E>>,
    _permit: OwnedSemaphorePermit,
}

impl<B: Body> Task<B, B::Error> {
    async fn run(mut self) {
        while let Some(body) = &mut self.body {
            let piece = poll_fn(|cx| poll_body_frame(body.as_mut(), cx));
            let is_silent = match timeout(SILENCE, piece).await {
                Ok(piece) => {
                    self.take_in(piece);
                    false
                }
                Err(_) => true,
            };
            let is_over = |left: Instant| is_silent || left.elapsed() > PATIENCE;
            if self.shared.lock().left.is_some_and(is_over) {
                tracing::debug!(target: "tower_fred::cache", "a body without a client took too long");
                self.shared.lock().give_up();
                self.body = None;
            }
            consume_budget().await;
        }
    }

    fn take_in(&mut self, piece: BodyFrame<B::Error>) {
        let mut incomplete = self.shared.lock();
        match incomplete.take_in(piece) {
            Next::More => {}
            Next::End => self.body = None,
            Next::Rest => incomplete.body = self.body.take(),
        }
        Shared::wake(incomplete);
    }
}

/// When the runtime shuts down, or the body panics, the client reads the rest itself.
impl<B, E> Drop for Task<B, E> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            let mut incomplete = self.shared.lock();
            incomplete.body = Some(body);
            Shared::wake(incomplete);
        }
    }
}

/// At most so many frames are read before the head is sent.
const MOST_READY: usize = 128;
/// After the client has left: the longest wait for a frame.
const SILENCE: Duration = Duration::from_secs(1);
/// After the client has left: the longest time to read the rest.
const PATIENCE: Duration = Duration::from_secs(60);
