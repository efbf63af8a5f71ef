//! The part of a handler's body that was read so far, and what is known of the rest.

use std::{fmt, mem, pin::Pin, task::Waker, time::Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, SizeHint};

use super::{
    body_frame::{BodyFrame, FrameContent},
    entry::{Fill, Finished},
};
use crate::cache::rules::body_limits::Limits;

/// A body that is being read. A task (or the client) reads it from the handler into this buffer; the client takes it from
/// here.
pub(crate) struct IncompleteBody<B, E> {
    /// The data read so far, as long as it may be stored.
    fill: Option<Fill>,
    limits: Limits,
    /// How many bytes of `fill` the client has taken.
    taken: usize,
    /// After copying has ended: the copied bytes that the client has not taken yet.
    left_over: Bytes,
    /// The frame after `left_over`, with which the body became too long to store.
    over: Bytes,
    /// The trailers or the error after the data.
    last: Option<Result<HeaderMap, E>>,
    /// The handler's body, if the client reads the rest of it itself.
    pub(crate) body: Option<Pin<Box<B>>>,
    is_ended: bool,
    is_stored: bool,
    /// The size hint of the part that was not read yet.
    hint: SizeHint,
    /// Wakes the client when there is more.
    pub(crate) client: Option<Waker>,
    /// When the client left.
    pub(crate) left: Option<Instant>,
}

/// What to do after a frame was read.
pub(crate) enum Next {
    /// Read the next frame.
    More,
    /// Stop: the body is at its end.
    End,
    /// Leave the rest to the client: the body is not stored.
    Rest,
}

impl<B, E> IncompleteBody<B, E> {
    pub(crate) fn new(fill: Fill, limits: Limits, hint: SizeHint) -> Self {
        Self {
            fill: Some(fill),
            limits,
            taken: 0,
            left_over: Bytes::new(),
            over: Bytes::new(),
            last: None,
            body: None,
            is_ended: false,
            is_stored: false,
            hint,
            client: None,
            left: None,
        }
    }

    /// Lets the client read the rest of `body` itself.
    pub(crate) fn followed_by(mut self, body: Pin<Box<B>>) -> Self {
        self.body = Some(body);
        self
    }

    /// Whether the body may still be stored.
    pub(crate) fn is_copied(&self) -> bool {
        self.fill.is_some()
    }

    /// Adds a frame that was read.
    pub(crate) fn take_in(&mut self, piece: BodyFrame<E>) -> Next {
        self.hint = piece.hint;
        match piece.frame {
            None => self.end(),
            Some(Err(error)) => {
                self.stop(|fill| (fill.discard(), false));
                self.last = Some(Err(error));
                Next::Rest
            }
            // Trailers are not stored, and without them the stored answer would not be the handler's.
            Some(Ok(FrameContent::Trailers(trailers))) => {
                self.stop(|fill| (fill.refuse(), false));
                self.last = Some(Ok(trailers));
                Next::Rest
            }
            Some(Ok(FrameContent::Data(data))) => match &mut self.fill {
                Some(fill)
                    if self
                        .limits
                        .allow(fill.body().len().saturating_add(data.len())) =>
                {
                    fill.push(&data);
                    fill.progress();
                    match piece.is_last {
                        true => self.end(),
                        false => Next::More,
                    }
                }
                _ => {
                    self.stop(|fill| (fill.refuse(), false));
                    self.over = data;
                    Next::Rest
                }
            },
        }
    }

    /// The body is at its end: stores it, if it has the length that the head states.
    pub(crate) fn end(&mut self) -> Next {
        self.is_ended = true;
        let length = self.fill.as_ref().map_or(0, |fill| fill.body().len());
        if self.limits.is_whole(length) {
            self.hint = SizeHint::with_exact(0);
            self.stop(|fill| {
                let Finished { body, is_stored } = fill.finish();
                (body, is_stored)
            });
        } else {
            // It contradicts `Content-Length`: without an exact hint, a server notices only when it reads the end.
            self.hint = SizeHint::new();
            self.stop(|fill| (fill.refuse(), false));
        }
        Next::End
    }

    /// The whole body, if it was read to a valid end before the client took any of it, and whether it is stored.
    pub(crate) fn whole(&self) -> Option<(Bytes, bool)> {
        let is_whole = self.is_ended && self.hint.exact().is_some();
        is_whole.then(|| (self.left_over.clone(), self.is_stored))
    }

    /// Stops copying a body that takes too long: other requests no longer wait for it.
    pub(crate) fn give_up(&mut self) {
        if let Some(fill) = self.fill.take() {
            // All bytes that `Content-Length` states are here; the body has just not reported its end.
            if self.limits.is_surely_whole(fill.body().len()) {
                fill.finish();
            } else {
                // The waiting requests must not wait for each other next.
                fill.refuse();
            }
        }
    }

    /// The client, which read the handler's body itself, has left.
    pub(crate) fn abandon(&mut self) {
        let is_whole = |fill: &mut Fill| self.limits.is_surely_whole(fill.body().len());
        if let Some(fill) = self.fill.take_if(is_whole) {
            fill.finish();
        }
        // Dropping the lead lets a waiting request ask the handler.
        self.fill = None;
    }

    /// The data that the client can take now; at most `most` bytes while they have to be copied for it.
    pub(crate) fn data(&mut self, most: usize) -> Option<Bytes> {
        if let Some(fill) = &self.fill {
            let new = &fill.body()[self.taken..];
            let new = &new[..new.len().min(most)];
            self.taken += new.len();
            return (!new.is_empty()).then(|| Bytes::copy_from_slice(new));
        }
        [&mut self.left_over, &mut self.over]
            .into_iter()
            .map(mem::take)
            .find(|data| !data.is_empty())
    }

    /// Takes the trailers or the error after the data.
    pub(crate) fn last(&mut self) -> Option<Result<HeaderMap, E>> {
        self.last.take()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// How many bytes the client has not taken yet, and whether trailers or an error follow.
    fn waiting(&self) -> (u64, bool) {
        let copied = self.fill.as_ref();
        let copied = copied.map_or(0, |fill| fill.body().len() - self.taken);
        let bytes = copied + self.left_over.len() + self.over.len();
        (bytes as u64, self.last.is_some())
    }

    /// Ends the copying. `stop` stores or discards the copy; it returns all copied bytes, and whether they are stored.
    fn stop(&mut self, stop: impl FnOnce(Fill) -> (Bytes, bool)) {
        if let Some(fill) = self.fill.take() {
            let (mut body, is_stored) = stop(fill);
            self.left_over = body.split_off(self.taken);
            self.is_stored = is_stored;
        }
    }
}

impl<B: Body, E> IncompleteBody<B, E> {
    pub(crate) fn is_end_stream(&self) -> bool {
        let is_over = || match &self.body {
            Some(body) => body.is_end_stream(),
            None => self.is_ended,
        };
        self.waiting() == (0, false) && is_over()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let of_body = self.body.as_ref().map(Body::size_hint);
        let rest = of_body.as_ref().unwrap_or(&self.hint);
        let (waiting, _) = self.waiting();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(waiting));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(waiting)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B, E> fmt::Debug for IncompleteBody<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncompleteBody")
            .field("is_copied", &self.is_copied())
            .field("is_ended", &self.is_ended)
            .finish_non_exhaustive()
    }
}
