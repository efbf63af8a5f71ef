//! The future that every service of this crate returns.

use std::{
    fmt,
    future::{self, Future},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use http::Response;
use tokio::task::coop;

/// The response future of this crate's services. It allocates once per request, and not for a response that is ready.
pub struct ResponseFuture<B, E> {
    inner: Inner<B, E>,
}

enum Inner<B, E> {
    Later(Pin<Box<dyn Future<Output = Result<Response<B>, E>> + Send>>),
    Now(future::Ready<Response<B>>),
}

impl<B, E> ResponseFuture<B, E> {
    pub(crate) fn new(
        future: impl Future<Output = Result<Response<B>, E>> + Send + 'static,
    ) -> Self {
        Self {
            inner: Inner::Later(Box::pin(future)),
        }
    }

    #[cfg(feature = "cache")]
    pub(crate) fn ready(response: Response<B>) -> Self {
        Self {
            inner: Inner::Now(future::ready(response)),
        }
    }
}

impl<B, E> Future for ResponseFuture<B, E> {
    type Output = Result<Response<B>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.inner {
            Inner::Later(future) => future.as_mut().poll(cx),
            Inner::Now(response) => {
                // Without this, a caller in a loop of ready responses would never let other tasks run.
                ready!(pin!(coop::consume_budget()).poll(cx));
                Pin::new(response).poll(cx).map(Ok)
            }
        }
    }
}

impl<B, E> fmt::Debug for ResponseFuture<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
