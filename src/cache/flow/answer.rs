//! Responses that the cache makes itself: from stored answers, and 504 and 502.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{
    cache::{
        conditional::{
            condition,
            range::{self, Wanted},
        },
        fill::body::CacheBody,
        rfc::cache_status,
    },
    store::Stored,
};

/// The parts of a request that decide whether a stored answer is sent whole, in part, or as 304.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) is_head: bool,
    pub(crate) headers: &'a HeaderMap,
}

/// Makes the response to a request from a stored answer (RFC 9111 §4): the whole answer, parts of it, or 304.
pub(crate) fn from_stored<B>(
    stored: &Stored,
    asked: Asked<'_>,
    now_ms: u64,
) -> Response<CacheBody<B>> {
    let Stored { head, body } = stored;
    let fields = asked.headers;
    let now = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    // RFC 9111 §5.1
    let age = cache_status::seconds(head.life.age_ms(now_ms) / 1000);
    // RFC 9110 §13.2.1: conditions apply only if the response would otherwise be a success
    if head.status.is_success() && condition::is_not_modified(fields, &head.headers, now) {
        // RFC 9110 §15.4.5: without the fields that describe the content
        let mut headers = without(&head.headers, |name| CONTENT_FIELDS.contains(name));
        headers.insert(header::AGE, age);
        return response(StatusCode::NOT_MODIFIED, headers, Bytes::new());
    }
    let mut headers = head.headers.clone();
    headers.insert(header::AGE, age);
    if asked.is_head {
        // RFC 9110 §8.6: the length that GET would have, and none with 204
        if head.status != StatusCode::NO_CONTENT && !headers.contains_key(header::CONTENT_LENGTH) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        return response(head.status, headers, Bytes::new());
    }
    // RFC 9110 §14.2: of a 200, and if the client's condition holds
    let in_parts = fields.contains_key(header::RANGE)
        && head.status == StatusCode::OK
        && condition::allows_range(fields, &headers, now);
    let wanted = if in_parts {
        range::wanted(fields, body.len())
    } else {
        Wanted::Whole
    };
    match wanted {
        Wanted::Whole => response(head.status, headers, body.clone()),
        Wanted::Parts(parts) => partial(headers, body, &parts),
        Wanted::Nothing => {
            let length = body.len();
            headers = without(&headers, |name| {
                CONTENT_FIELDS.contains(name) || FRESHNESS_FIELDS.contains(name)
            });
            if let Some(value) = range::unsatisfied(length) {
                headers.insert(header::CONTENT_RANGE, value);
            }
            response(StatusCode::RANGE_NOT_SATISFIABLE, headers, Bytes::new())
        }
    }
}

/// RFC 9110 §15.3.7
fn partial<B>(
    mut headers: HeaderMap,
    body: &Bytes,
    parts: &[std::ops::Range<usize>],
) -> Response<CacheBody<B>> {
    let (kind, content_range, content) = match parts {
        [part] => {
            let range = range::content_range(part, body.len());
            (
                None,
                HeaderValue::try_from(range).ok(),
                body.slice(part.clone()),
            )
        }
        parts => {
            let mut random = [0; 16];
            // If this fails the boundary is a constant, which only somebody who controls the stored body could abuse.
            let _ = getrandom::fill(&mut random);
            let boundary = format!("{:032x}", u128::from_le_bytes(random));
            let kind = headers.get(header::CONTENT_TYPE);
            let content = range::multipart(body, parts, kind, &boundary);
            let kind = format!("multipart/byteranges; boundary={boundary}");
            (HeaderValue::try_from(kind).ok(), None, content)
        }
    };
    if let Some(kind) = kind {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    match content_range {
        Some(range) => headers.insert(header::CONTENT_RANGE, range),
        None => headers.remove(header::CONTENT_RANGE),
    };
    // RFC 9530 §2: the digest is of the whole content, not of these parts
    headers.remove(CONTENT_DIGEST);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.len()));
    response(StatusCode::PARTIAL_CONTENT, headers, content)
}

fn without(headers: &HeaderMap, dropped: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| !dropped(name)) {
        kept.append(name, value.clone());
    }
    kept
}

/// RFC 9111 §5.2.1.7: the client wants only a stored answer, and there is none.
pub(crate) fn refused<B>() -> Response<CacheBody<B>> {
    response(StatusCode::GATEWAY_TIMEOUT, HeaderMap::new(), Bytes::new())
}

/// The handler's 304 contradicts the stored answer, and it cannot be asked again.
pub(crate) fn bad_gateway<B>() -> Response<CacheBody<B>> {
    response(StatusCode::BAD_GATEWAY, HeaderMap::new(), Bytes::new())
}

fn response<B>(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<CacheBody<B>> {
    let mut response = Response::new(CacheBody::own(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

const CONTENT_FIELDS: [HeaderName; 5] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
];

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// With these fields a cache between this one and the client might store the 416 for this URL.
const FRESHNESS_FIELDS: [HeaderName; 5] = [
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::ETAG,
    header::LAST_MODIFIED,
    HeaderName::from_static("cdn-cache-control"),
];
