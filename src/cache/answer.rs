//! The answers that the cache gives itself.

use http::{HeaderValue, Method, Response, StatusCode, header};

use super::{body::CacheBody, status::CacheStatus};
use crate::store::Stored;

/// A stored answer to a `GET` or `HEAD` request (RFC 9111 §4).
pub(crate) fn hit<B>(
    stored: Stored,
    method: &Method,
    now_ms: u64,
) -> (Response<CacheBody<B>>, CacheStatus) {
    let Stored { head, body } = stored;
    let status = CacheStatus::hit(head.fresh_for(now_ms));
    let age = HeaderValue::from(head.age_ms(now_ms) / 1000);
    let length = body.len();
    let is_head = method == Method::HEAD;
    let body = if is_head {
        CacheBody::own("")
    } else {
        CacheBody::own(body)
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    // RFC 9111 §5.1: on each answer that was stored
    response.headers_mut().insert(header::AGE, age);
    // RFC 9110 §8.6: the length that GET would have, and none with 204
    let lengthless = head.status == StatusCode::NO_CONTENT;
    if is_head && !lengthless && !response.headers().contains_key(header::CONTENT_LENGTH) {
        let length = HeaderValue::from(length);
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length);
    }
    (response, status)
}

/// RFC 9111 §5.2.1.7: the client wants a stored answer only, and there is none.
pub(crate) fn refused<B>() -> (Response<CacheBody<B>>, CacheStatus) {
    let mut response = Response::new(CacheBody::own(""));
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    (response, CacheStatus::refused())
}
