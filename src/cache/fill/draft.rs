//! What was read of a handler's body, and what is known of the rest.

use std::{fmt, mem, pin::Pin, task::Waker, time::Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, SizeHint};

use super::{
    fill::{Fill, Finished},
    piece::{Content, Piece},
};
use crate::cache::rules::body_limits::Limits;

/// An answer's body, as far as it was read. One side reads it from the handler, the client takes it from here.
pub(crate) struct Draft<B, E> {
    /// While it is to be stored: then what was read is in there.
    fill: Option<Fill>,
    limits: Limits,
    /// How much of what is in there the client has.
    taken: usize,
    /// What the client does not have yet, once nothing more is copied.
    left_over: Bytes,
    /// What came after that and was too much to be stored.
    over: Bytes,
    /// What came after that and was not data.
    last: Option<Result<HeaderMap, E>>,
    /// The rest, if the client is to read it itself.
    pub(crate) body: Option<Pin<Box<B>>>,
    is_ended: bool,
    is_stored: bool,
    /// How much comes after what was read.
    hint: SizeHint,
    /// Who waits for more.
    pub(crate) client: Option<Waker>,
    /// When the client left.
    pub(crate) left: Option<Instant>,
}

/// What follows from what was read.
pub(crate) enum Next {
    More,
    /// The body is at its end.
    End,
    /// The rest is not to be stored: it is for the client to read.
    Rest,
}

impl<B, E> Draft<B, E> {
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

    /// Leaves the rest to the client.
    pub(crate) fn followed_by(mut self, body: Pin<Box<B>>) -> Self {
        self.body = Some(body);
        self
    }

    /// Whether what is read is still to be stored.
    pub(crate) fn is_copied(&self) -> bool {
        self.fill.is_some()
    }

    /// Adds what was read.
    pub(crate) fn take_in(&mut self, piece: Piece<E>) -> Next {
        self.hint = piece.hint;
        match piece.frame {
            None => self.end(),
            Some(Err(error)) => {
                self.stop(|fill| (fill.discard(), false));
                self.last = Some(Err(error));
                Next::Rest
            }
            // Trailers are not stored, and an answer without them would be another one.
            Some(Ok(Content::Trailers(trailers))) => {
                self.stop(|fill| (fill.refuse(), false));
                self.last = Some(Ok(trailers));
                Next::Rest
            }
            Some(Ok(Content::Data(data))) => match &mut self.fill {
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

    /// The body is at its end: stores it, unless it is not as long as stated.
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
            // It contradicts `Content-Length`, of which a server is to hear only when it comes to the end.
            self.hint = SizeHint::new();
            self.stop(|fill| (fill.refuse(), false));
        }
        Next::End
    }

    /// A body that was read to its end before the client had any of it, and whether it is stored.
    pub(crate) fn whole(&self) -> Option<(Bytes, bool)> {
        let is_whole = self.is_ended && self.hint.exact().is_some();
        is_whole.then(|| (self.left_over.clone(), self.is_stored))
    }

    /// Nobody is to wait any longer for the rest.
    pub(crate) fn give_up(&mut self) {
        if let Some(fill) = self.fill.take() {
            // A server reads no further than `Content-Length` says, and the body may not know its end before.
            if self.limits.is_surely_whole(fill.body().len()) {
                fill.finish();
            } else {
                // Those who wait are not to wait for one another as well.
                fill.refuse();
            }
        }
    }

    /// The client has left, and there is nobody else who reads.
    pub(crate) fn abandon(&mut self) {
        let is_whole = |fill: &mut Fill| self.limits.is_surely_whole(fill.body().len());
        if let Some(fill) = self.fill.take_if(is_whole) {
            fill.finish();
        }
        // Perhaps another one can have it made.
        self.fill = None;
    }

    /// Data that the client can have now: at most `most` bytes if they have to be copied for it.
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

    /// What comes after the data.
    pub(crate) fn last(&mut self) -> Option<Result<HeaderMap, E>> {
        self.last.take()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// How much is there for the client, and whether there is something else.
    fn waiting(&self) -> (u64, bool) {
        let copied = self.fill.as_ref();
        let copied = copied.map_or(0, |fill| fill.body().len() - self.taken);
        let bytes = copied + self.left_over.len() + self.over.len();
        (bytes as u64, self.last.is_some())
    }

    /// Copies no more. `stop` says what becomes of it: it returns all that was copied, and whether that is stored.
    fn stop(&mut self, stop: impl FnOnce(Fill) -> (Bytes, bool)) {
        if let Some(fill) = self.fill.take() {
            let (mut body, is_stored) = stop(fill);
            self.left_over = body.split_off(self.taken);
            self.is_stored = is_stored;
        }
    }
}

impl<B: Body, E> Draft<B, E> {
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

impl<B, E> fmt::Debug for Draft<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("is_copied", &self.is_copied())
            .field("is_ended", &self.is_ended)
            .finish_non_exhaustive()
    }
}
