//! The response body of a layer that answers some requests itself.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of the inner service's response, or the bytes of a response that a layer of this crate made itself.
    ///
    /// It has the data and error types of the inner body, which may be any as long as the data can be made from [`Bytes`].
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        inner: Inner<B>,
    }
}

pin_project! {
    #[project = InnerProj]
    #[derive(Debug)]
    enum Inner<B> {
        Wrapped { #[pin] body: B },
        Own { data: Option<Bytes> },
        Delayed { data: Option<Bytes>, until: Until },
    }
}

/// What the only frame of a response waits for. The mutex is never locked: it makes the body `Sync` without asking the
/// same of the future.
struct Until(Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl<B> ResponseBody<B> {
    pub(crate) fn wrapped(body: B) -> Self {
        Self {
            inner: Inner::Wrapped { body },
        }
    }

    pub(crate) fn own(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Self {
            inner: Inner::Own {
                data: (!data.is_empty()).then_some(data),
            },
        }
    }

    /// The same body, if a layer of this crate made it and it is not empty: its data is not given out before `until` is
    /// ready. Another body gives `until` back.
    #[cfg_attr(
        not(feature = "rate-limit"),
        allow(
            dead_code,
            reason = "only a limit reads requests that it does not pass on"
        )
    )]
    pub(crate) fn delayed<F>(self, until: F) -> Result<Self, (Self, F)>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self.inner {
            Inner::Own { data: Some(data) } => Ok(Self {
                inner: Inner::Delayed {
                    data: Some(data),
                    until: Until(Mutex::new(Box::pin(until))),
                },
            }),
            inner => Err((Self { inner }, until)),
        }
    }
}

impl Until {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let future = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        future.as_mut().poll(cx)
    }
}

impl fmt::Debug for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Until")
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::wrapped(B::default())
    }
}

impl<B> Body for ResponseBody<B>
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
        match self.project().inner.project() {
            InnerProj::Wrapped { body } => body.poll_frame(cx),
            InnerProj::Own { data } => {
                Poll::Ready(data.take().map(|data| Ok(Frame::data(data.into()))))
            }
            InnerProj::Delayed { data, until } => {
                if data.is_some() {
                    ready!(until.poll(cx));
                }
                Poll::Ready(data.take().map(|data| Ok(Frame::data(data.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Wrapped { body } => body.is_end_stream(),
            Inner::Own { data } | Inner::Delayed { data, .. } => data.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Wrapped { body } => body.size_hint(),
            Inner::Own { data } | Inner::Delayed { data, .. } => {
                SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64))
            }
        }
    }
}
