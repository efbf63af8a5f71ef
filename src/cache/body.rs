//! The response body: passed on as it comes, and copied for the cache on the way.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::fill::Fill;
use crate::body::ResponseBody;

pin_project! {
    /// The wrapped service's body, or a stored one.
    ///
    /// Frames, errors, size hint and end of the wrapped body are passed on as they are; nothing is held back.
    #[derive(Debug)]
    pub struct CacheBody<B> {
        #[pin]
        inner: ResponseBody<B>,
        // In a box: most bodies are not copied, and are moved about a few times.
        copy: Option<Box<Copying>>,
    }
}

impl<B> CacheBody<B> {
    pub(crate) fn wrapped(body: B) -> Self {
        Self {
            inner: ResponseBody::wrapped(body),
            copy: None,
        }
    }

    pub(crate) fn own(data: impl Into<Bytes>) -> Self {
        Self {
            inner: ResponseBody::own(data),
            copy: None,
        }
    }
}

impl<B> CacheBody<B> {
    /// Whether what is read is still to be stored.
    pub(crate) fn is_copied(&self) -> bool {
        self.copy.is_some()
    }
}

impl<B: Body> CacheBody<B> {
    /// Passes on `body` and copies it for `copy`.
    pub(crate) fn copied(body: B, copy: Copying) -> Self {
        let ended = body.is_end_stream();
        let mut copied = Self::wrapped(body);
        copied.copy = Some(Box::new(copy));
        // Nobody reads a body that is at its end.
        if ended {
            if let Some(copy) = copied.copy.take() {
                copy.end();
            }
        }
        copied
    }
}

impl<B: Default> Default for CacheBody<B> {
    fn default() -> Self {
        Self::wrapped(B::default())
    }
}

impl<B> Body for CacheBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        let Some(copy) = this.copy.take() else {
            return Poll::Ready(frame);
        };
        let frame = match frame {
            None => {
                copy.end();
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                copy.discard();
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(frame)) => frame,
        };
        Poll::Ready(Some(Ok(match frame.into_data() {
            Ok(mut data) => {
                let bytes = data.copy_to_bytes(data.remaining());
                match copy.push(&bytes) {
                    Some(copy) if this.inner.is_end_stream() => copy.end(),
                    copy => *this.copy = copy,
                }
                Frame::data(bytes.into())
            }
            // Trailers are not stored, and a response without them would be another one.
            Err(trailers) => {
                copy.refuse();
                trailers
            }
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A copy in the making. It is stored when the body is complete; otherwise it is dropped.
#[derive(Debug)]
pub(crate) struct Copying {
    /// `None` when it is decided what becomes of it.
    fill: Option<Fill>,
    limits: Limits,
}

/// How much of a body may be copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    limit: usize,
    length: Option<u64>,
}

impl Limits {
    /// `None` if it is known from the start that the body is too long, or not of the stated length.
    pub(crate) fn of(headers: &HeaderMap, hint: &SizeHint, limit: usize) -> Option<Self> {
        let length = match stated_length(headers) {
            Ok(length) => length.or(hint.exact()),
            Err(Unreadable) => return None,
        };
        let most = u64::try_from(limit).unwrap_or(u64::MAX);
        let possible = hint.lower()..=hint.upper().unwrap_or(u64::MAX);
        let is_too_long = hint.lower() > most;
        let is_wrong = length.is_some_and(|length| length > most || !possible.contains(&length));
        (!is_too_long && !is_wrong).then_some(Self { limit, length })
    }
}

impl Copying {
    pub(crate) fn new(fill: Fill, limits: Limits) -> Self {
        Self {
            fill: Some(fill),
            limits,
        }
    }

    /// Adds a part of the body; `None` when there is too much of it.
    fn push(mut self: Box<Self>, bytes: &[u8]) -> Option<Box<Self>> {
        let fill = self.fill.as_mut()?;
        let sum = fill.len().checked_add(bytes.len())?;
        let Limits { limit, length } = self.limits;
        let too_long = sum > limit || length.is_some_and(|length| sum as u64 > length);
        if too_long {
            self.refuse();
            return None;
        }
        fill.push(bytes);
        Some(self)
    }

    /// The body is at its end: stores it, unless there is less of it than stated.
    fn end(mut self) {
        let is_whole = self.is_whole(true);
        if let Some(fill) = self.fill.take() {
            if is_whole {
                fill.finish();
            }
        }
    }

    /// Whether all of it is there; without a stated length that is so at its end.
    fn is_whole(&self, otherwise: bool) -> bool {
        let copied = self.fill.as_ref().map_or(0, Fill::len) as u64;
        let length = self.limits.length;
        length.map_or(otherwise, |length| copied == length)
    }

    /// It cannot be stored, also if it is made again.
    fn refuse(mut self) {
        if let Some(fill) = self.fill.take() {
            fill.refuse();
        }
    }

    /// It broke: perhaps it can be made again.
    fn discard(mut self) {
        self.fill = None;
    }
}

/// A server reads no further than `Content-Length` says, so that it may never see the end of the body. What was read by
/// then is the whole response.
impl Drop for Copying {
    fn drop(&mut self) {
        let is_whole = self.is_whole(false);
        if let Some(fill) = self.fill.take() {
            if is_whole {
                fill.finish();
            }
        }
    }
}

struct Unreadable;

fn stated_length(headers: &HeaderMap) -> Result<Option<u64>, Unreadable> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return if headers.contains_key(header::CONTENT_LENGTH) {
            Err(Unreadable)
        } else {
            Ok(None)
        };
    };
    let digits = std::str::from_utf8(line.as_bytes()).map_err(|_| Unreadable)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Unreadable);
    }
    digits.parse().map(Some).map_err(|_| Unreadable)
}
