//! Reading the handler's body into the cache, at the body's own pace and not at the client's.
//!
//! What is there without waiting is read before the head is sent: most bodies are complete then. The rest is read by a task,
//! and the [`reader`](super::reader) is what the client has of it. When it turns out that the answer cannot be stored, or
//! when there is no task, the client reads the handler's body itself.

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
    draft::{Draft, Next},
    fill::Fill,
    piece::{Piece, poll_piece},
    reader::Shared,
};
use crate::cache::{rules::body_limits::Limits, state::fill_tasks::FillTasks};

/// Has `body` copied into `fill`. The second value is whether it is stored already.
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
    let mut draft = Draft::new(fill, limits, body.size_hint());
    let mut body = Box::pin(body);
    let next = match body.is_end_stream() {
        true => draft.end(),
        false => poll_fn(|cx| Poll::Ready(read_ready(body.as_mut(), &mut draft, cx))).await,
    };
    match next {
        Next::More => {}
        Next::End => {
            return match draft.whole() {
                Some((body, is_stored)) => (CacheBody::own(body), is_stored),
                None => (CacheBody::read(Shared::new(draft)), false),
            };
        }
        Next::Rest => {
            let shared = Shared::new(draft.followed_by(body));
            return (CacheBody::read(shared), false);
        }
    }
    let Some((runtime, permit)) = fill_tasks.room() else {
        let shared = Shared::new(draft.followed_by(body));
        return (CacheBody::read(shared), false);
    };
    let shared = Arc::new(Shared::new(draft));
    let task = Task {
        body: Some(body),
        shared: Arc::clone(&shared),
        _permit: permit,
    };
    runtime.spawn(task.run());
    (CacheBody::read_from(shared), false)
}

/// Reads until nothing is there without waiting, or there is so much that others have to have their turn.
fn read_ready<B: Body>(
    mut body: Pin<&mut B>,
    draft: &mut Draft<B, B::Error>,
    cx: &mut Context<'_>,
) -> Next {
    for _ in 0..MOST_READY {
        let Poll::Ready(piece) = poll_piece(body.as_mut(), cx) else {
            return Next::More;
        };
        match draft.take_in(piece) {
            Next::More => {}
            last => return last,
        }
    }
    Next::More
}

/// Reads a body to its end, for a client or after it has left.
struct Task<B, E> {
    /// Until it is at its end, or the client is to read it.
    body: Option<Pin<Box<B>>>,
    shared: Arc<Shared<B, E>>,
    _permit: OwnedSemaphorePermit,
}

impl<B: Body> Task<B, B::Error> {
    async fn run(mut self) {
        while let Some(body) = &mut self.body {
            let piece = poll_fn(|cx| poll_piece(body.as_mut(), cx));
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

    fn take_in(&mut self, piece: Piece<B::Error>) {
        let mut draft = self.shared.lock();
        match draft.take_in(piece) {
            Next::More => {}
            Next::End => self.body = None,
            Next::Rest => draft.body = self.body.take(),
        }
        Shared::wake(draft);
    }
}

/// When the runtime ends, or the body panics, the client goes on by itself.
impl<B, E> Drop for Task<B, E> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            let mut draft = self.shared.lock();
            draft.body = Some(body);
            Shared::wake(draft);
        }
    }
}

/// How many frames are read before the head is sent.
const MOST_READY: usize = 128;
/// For how long a body whose client has left may give nothing.
const SILENCE: Duration = Duration::from_secs(1);
/// For how long a body is read whose client has left.
const PATIENCE: Duration = Duration::from_secs(60);
