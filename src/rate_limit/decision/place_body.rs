//! A response body that holds its request's places.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::places::Place;

pin_project! {
    /// The wrapped service's body. When it ends, fails or is dropped, the request's places under
    /// [concurrency](crate::rate_limit::Policy::concurrency) policies are given back.
    #[derive(Debug)]
    pub struct Held<B> {
        #[pin]
        body: B,
        places: Vec<Place>,
    }
}

impl<B> Held<B> {
    pub(crate) fn new(body: B, places: Vec<Place>) -> Self {
        Self { body, places }
    }
}

impl<B: Default> Default for Held<B> {
    fn default() -> Self {
        Self::new(B::default(), Vec::new())
    }
}

impl<B: Body> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = this.body.poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            this.places.clear();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
