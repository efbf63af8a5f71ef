//! A frame of a body, with what is known of the rest.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, SizeHint};

/// What was read of a body.
pub(crate) struct Piece<E> {
    /// Nothing at its end.
    pub(crate) frame: Option<Result<Content, E>>,
    /// Whether it is known that nothing comes after it.
    pub(crate) is_last: bool,
    /// How much comes after it.
    pub(crate) hint: SizeHint,
}

/// A frame whose data is of one type.
pub(crate) enum Content {
    Data(Bytes),
    Trailers(HeaderMap),
}

pub(crate) fn poll_piece<B: Body>(
    mut body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Piece<B::Error>> {
    let frame = ready!(body.as_mut().poll_frame(cx));
    let frame = frame.map(|frame| {
        frame.map(|frame| match frame.into_data() {
            Ok(mut data) => Content::Data(data.copy_to_bytes(data.remaining())),
            Err(frame) => Content::Trailers(frame.into_trailers().unwrap_or_default()),
        })
    });
    Poll::Ready(Piece {
        frame,
        is_last: body.is_end_stream(),
        hint: body.size_hint(),
    })
}
