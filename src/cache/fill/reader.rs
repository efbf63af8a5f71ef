//! What a client reads while its answer is copied into the cache.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    draft::{Draft, Next},
    piece::poll_piece,
};

/// A draft that a task and a client have in common.
pub(crate) struct Shared<B, E>(Mutex<Draft<B, E>>);

impl<B, E> Shared<B, E> {
    pub(crate) fn new(draft: Draft<B, E>) -> Self {
        Self(Mutex::new(draft))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Draft<B, E>> {
        // A body that panics while it is read is as it was left.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the client when the draft is unlocked.
    pub(crate) fn wake(mut draft: MutexGuard<'_, Draft<B, E>>) {
        let client = draft.client.take();
        drop(draft);
        if let Some(client) = client {
            client.wake();
        }
    }
}

/// The client's side of a draft. It ends the reading when it is dropped, if nobody else goes on.
pub(crate) struct Reader<B>(Arc<dyn Source<B>>);

/// A [`Shared`] draft, whatever its errors are: their type is known only where `B` is a body.
trait Source<B>: Send + Sync {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Polled<B>
    where
        B: Body,
        B::Data: From<Bytes>;

    fn is_end_stream(&self) -> bool;

    fn size_hint(&self) -> SizeHint;

    fn is_copied(&self) -> bool;

    fn leave(&self);
}

type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

impl<B> Source<B> for Shared<B, B::Error>
where
    B: Body + Send,
    B::Error: Send,
{
    fn poll_frame(&self, cx: &mut Context<'_>) -> Polled<B>
    where
        B::Data: From<Bytes>,
    {
        let mut draft = self.lock();
        loop {
            if let Some(data) = draft.data(MOST_COPIED) {
                return Poll::Ready(Some(Ok(Frame::data(data.into()))));
            }
            if let Some(last) = draft.last() {
                return Poll::Ready(Some(last.map(Frame::trailers)));
            }
            let is_copied = draft.is_copied();
            let Some(body) = &mut draft.body else {
                if draft.is_ended() {
                    return Poll::Ready(None);
                }
                draft.client = Some(cx.waker().clone());
                return Poll::Pending;
            };
            // Nobody else reads it.
            if !is_copied {
                return body.as_mut().poll_frame(cx);
            }
            let piece = ready!(poll_piece(body.as_mut(), cx));
            if let Next::End = draft.take_in(piece) {
                draft.body = None;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().size_hint()
    }

    fn is_copied(&self) -> bool {
        self.lock().is_copied()
    }

    fn leave(&self) {
        let mut draft = self.lock();
        draft.left = Some(Instant::now());
        if draft.body.is_some() {
            draft.abandon();
        }
    }
}

impl<B> Reader<B> {
    pub(crate) fn new(shared: Arc<Shared<B, B::Error>>) -> Self
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        Self(shared)
    }

    /// Whether what is read is still to be stored.
    pub(crate) fn is_copied(&self) -> bool {
        self.0.is_copied()
    }

    pub(crate) fn poll_frame(&self, cx: &mut Context<'_>) -> Polled<B>
    where
        B: Body,
        B::Data: From<Bytes>,
    {
        self.0.poll_frame(cx)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl<B> Drop for Reader<B> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl<B> fmt::Debug for Reader<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// How much is copied for a frame.
const MOST_COPIED: usize = 64 * 1024;
