//! One frame of a body, with what the body knows of the rest.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, SizeHint};

/// A frame that was read from a body.
pub(crate) struct BodyFrame<E> {
    /// `None` at the end of the body.
    pub(crate) frame: Option<Result<FrameContent, E>>,
    /// Whether the body says that nothing follows.
    pub(crate) is_last: bool,
    /// The size hint of what follows.
    pub(crate) hint: SizeHint,
}

/// The content of a frame, with data of one type.
pub(crate) enum FrameContent {
    Data(Bytes),
    Trailers(HeaderMap),
}

pub(crate) fn poll_body_frame<B: Body>(
    mut body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<BodyFrame<B::Error>> {
    let frame = ready!(body.as_mut().poll_frame(cx));
    let frame = frame.map(|frame| {
        frame.map(|frame| match frame.into_data() {
            Ok(mut data) => FrameContent::Data(data.copy_to_bytes(data.remaining())),
            Err(frame) => FrameContent::Trailers(frame.into_trailers().unwrap_or_default()),
        })
    });
    Poll::Ready(BodyFrame {
        frame,
        is_last: body.is_end_stream(),
        hint: body.size_hint(),
    })
}
