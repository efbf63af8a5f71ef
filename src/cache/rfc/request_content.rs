//! Whether a request has content (RFC 9110 §6.4).

use http::{HeaderMap, header};
use http_body::Body;

/// Whether a request may have content. The header fields are not enough: HTTP/2 and HTTP/3 send content without them, and a
/// layer outside may have replaced the body.
///
/// A body that does not state that it is empty counts as content, even if it then ends without a byte.
pub(crate) fn has_content<B: Body>(headers: &HeaderMap, body: &B) -> bool {
    is_framed(headers) || !is_empty(body)
}

/// Whether the fields announce content (RFC 9112 §6.3). Without `Transfer-Encoding`, a length of `0` announces none.
fn is_framed(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    lengths.any(|length| length != "0") || headers.contains_key(header::TRANSFER_ENCODING)
}

/// Both are asked: many bodies that wrap another one pass on its size hint, but not that it is at its end.
fn is_empty<B: Body>(body: &B) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        pin::Pin,
        task::{Context, Poll},
    };

    use bytes::Bytes;
    use http::{HeaderName, HeaderValue};
    use http_body::{Frame, SizeHint};

    use super::*;

    /// A body that says this of itself, and has nothing.
    struct Says {
        is_end_stream: bool,
        length: Option<u64>,
    }

    impl Body for Says {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(None)
        }

        fn is_end_stream(&self) -> bool {
            self.is_end_stream
        }

        fn size_hint(&self) -> SizeHint {
            self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
        }
    }

    #[test]
    fn only_what_is_said_to_be_empty_is_empty() {
        for (is_end_stream, length, is_content) in [
            (true, None, false),
            (true, Some(0), false),
            (false, Some(0), false),
            (false, None, true),
            (false, Some(1), true),
        ] {
            let body = Says {
                is_end_stream,
                length,
            };
            let found = has_content(&HeaderMap::new(), &body);
            assert_eq!(found, is_content, "{is_end_stream} {length:?}");
        }
    }

    /// The body of a request may have been read by a layer outside.
    #[test]
    fn what_the_fields_announce_is_content() {
        for (fields, is_content) in [
            (&[][..], false),
            (&[("content-length", "0")], false),
            (&[("content-length", "3")], true),
            (&[("content-length", "0"), ("content-length", "3")], true),
            (&[("content-length", "0, 3")], true),
            (&[("content-length", "")], true),
            (&[("transfer-encoding", "chunked")], true),
            (
                &[("content-length", "0"), ("transfer-encoding", "chunked")],
                true,
            ),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                );
            }
            assert_eq!(
                has_content(&headers, &String::new()),
                is_content,
                "{fields:?}"
            );
        }
    }
}
