//! Reading the rest of a request that the layer answers by itself.
//!
//! A server of HTTP/1.1 closes the connection when it has answered and the request was not read to its end. Data that
//! arrives after that makes the system of the server send a reset, and a reset discards what the client has received but
//! not read yet: the answer (RFC 9112 §9.6). So the layer reads the body, within bounds, before its answer ends.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Buf;
use http::{HeaderMap, Version, header, request::Parts};
use http_body::Body;
use tokio::{task::coop, time::timeout};

/// How much of a body is read, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrainBounds {
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
}

impl Default for DrainBounds {
    fn default() -> Self {
        Self {
            bytes: 8 * 1024 * 1024,
            time: Duration::from_secs(2),
        }
    }
}

impl DrainBounds {
    /// Whether the body of this request is read before the answer ends.
    pub(crate) fn apply(self, request: &Parts, body: &impl Body) -> bool {
        let is_on = self.bytes > 0 && !self.time.is_zero();
        // RFC 9113 §8.1, RFC 9114 §4.1: the server can stop one stream and keep the connection.
        is_on
            && request.version <= Version::HTTP_11
            && !body.is_end_stream()
            && !waits_for_continue(request)
            && announced(&request.headers, body) <= self.bytes
    }

    /// Reads `body` to its end, its first error or one of the bounds, whichever is first.
    pub(crate) async fn drain(self, body: impl Body) {
        let read = async {
            let mut body = pin!(body);
            let mut left = self.bytes;
            while let Some(size) = poll_fn(|cx| frame_size(body.as_mut(), cx)).await {
                let Some(rest) = left.checked_sub(size) else {
                    return;
                };
                left = rest;
                // A body that always has a frame must not keep the thread, or the bound of time would not be looked at.
                coop::consume_budget().await;
            }
        };
        // An error means that the time is over. Then the answer ends too.
        let _ = timeout(self.time, read).await;
    }
}

/// The size of the next frame's data; `None` at the end and after an error.
fn frame_size(body: Pin<&mut impl Body>, cx: &mut Context<'_>) -> Poll<Option<u64>> {
    body.poll_frame(cx).map(|frame| {
        let frame = frame?.ok()?;
        Some(frame.data_ref().map_or(0, Buf::remaining) as u64)
    })
}

/// Whether the client sends its body only after a 100.
fn waits_for_continue(request: &Parts) -> bool {
    // RFC 9110 §10.1.1: in a request of HTTP/1.0 the expectation is ignored.
    request.version == Version::HTTP_11
        && request.headers.get_all(header::EXPECT).iter().any(|line| {
            let mut members = line.as_bytes().split(|byte| *byte == b',');
            members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"100-continue"))
        })
}

/// The size of the body, as far as it is known before it is read.
fn announced(headers: &HeaderMap, body: &impl Body) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.trim().parse().ok());
    body.size_hint().lower().max(length.unwrap_or(0))
}
