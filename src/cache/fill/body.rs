//! The response body: the handler's, or a stored one.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::reader::{Reader, Shared};
use crate::body::ResponseBody;

pin_project! {
    /// The wrapped service's body, or a stored one.
    ///
    /// Data, trailers, errors, size hint and end of the wrapped body are passed on as they are, without delay. While the body
    /// is copied into the cache, data that the client has not read yet may come in fewer and longer frames.
    #[derive(Debug)]
    pub struct CacheBody<B> {
        #[pin]
        inner: ResponseBody<B>,
        // If set, the body is read from here and not from `inner`: it is copied, or was.
        reader: Option<Reader<B>>,
    }
}

impl<B> CacheBody<B> {
    pub(crate) fn wrapped(body: B) -> Self {
        Self {
            inner: ResponseBody::wrapped(body),
            reader: None,
        }
    }

    pub(crate) fn own(data: impl Into<Bytes>) -> Self {
        Self {
            inner: ResponseBody::own(data),
            reader: None,
        }
    }

    /// Whether the body may still be stored.
    pub(crate) fn is_copied(&self) -> bool {
        self.reader.as_ref().is_some_and(Reader::is_copied)
    }
}

impl<B> CacheBody<B>
where
    B: Body + Send + 'static,
    B::Error: Send,
{
    /// A body that only the client reads from now on.
    pub(crate) fn read(shared: Shared<B, B::Error>) -> Self {
        Self::read_from(Arc::new(shared))
    }

    /// A body that a task reads for the client.
    pub(crate) fn read_from(shared: Arc<Shared<B, B::Error>>) -> Self {
        Self {
            inner: ResponseBody::own(Bytes::new()),
            reader: Some(Reader::new(shared)),
        }
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
        let this = self.project();
        match this.reader {
            Some(reader) => reader.poll_frame(cx),
            None => this.inner.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.reader {
            Some(reader) => reader.is_end_stream(),
            None => self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.reader {
            Some(reader) => reader.size_hint(),
            None => self.inner.size_hint(),
        }
    }
}
