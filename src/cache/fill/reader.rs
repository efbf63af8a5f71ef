//! The client's side of a body that is copied into the cache.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    body_frame::poll_body_frame,
    incomplete_body::{IncompleteBody, Next},
};

/// The buffer that the task and the client share.
pub(crate) struct Shared<B, E>(Mutex<IncompleteBody<B, E>>);

impl<B, E> Shared<B, E> {
    pub(crate) fn new(incomplete: IncompleteBody<B, E>) -> Self {
        Self(Mutex::new(incomplete))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, IncompleteBody<B, E>> {
        // If the body panicked, the buffer is as it was before that frame.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unlocks the buffer, then wakes the client.
    pub(crate) fn wake(mut incomplete: MutexGuard<'_, IncompleteBody<B, E>>) {
        let client = incomplete.client.take();
        drop(incomplete);
        if let Some(client) = client {
            client.wake();
        }
    }
}

/// The client's side. When it is dropped and no task reads, the reading ends.
pub(crate) struct Reader<B>(Arc<dyn Source<B>>);

/// [`Shared`] without the type of its errors, which can be named only where `B` is a body.
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
        let mut incomplete = self.lock();
        loop {
            if let Some(data) = incomplete.data(MOST_COPIED) {
                return Poll::Ready(Some(Ok(Frame::data(data.into()))));
            }
            if let Some(last) = incomplete.last() {
                return Poll::Ready(Some(last.map(Frame::trailers)));
            }
            let is_copied = incomplete.is_copied();
            let Some(body) = &mut incomplete.body else {
                if incomplete.is_ended() {
                    return Poll::Ready(None);
                }
                incomplete.client = Some(cx.waker().clone());
                return Poll::Pending;
            };
            // Nothing more is copied: the client reads the handler's body directly.
            if !is_copied {
                return body.as_mut().poll_frame(cx);
            }
            let piece = ready!(poll_body_frame(body.as_mut(), cx));
            if let Next::End = incomplete.take_in(piece) {
                incomplete.body = None;
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
        let mut incomplete = self.lock();
        incomplete.left = Some(Instant::now());
        if incomplete.body.is_some() {
            incomplete.abandon();
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

    /// Whether the body may still be stored.
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

/// The most bytes that are copied for one frame.
const MOST_COPIED: usize = 64 * 1024;
