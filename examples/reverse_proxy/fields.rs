//! The fields of a message that are for the proxy itself, and not for the next recipient.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header,
    uri::Authority,
};

/// RFC 9110 §7.6.1: removes hop-by-hop fields and the fields that `Connection` names.
///
/// A standard end-to-end field is no connection option, so it stays although `Connection` names it. Without it, a message
/// could get another length, lose a restriction of its storage, or become another request.
pub(crate) fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = list(headers, header::CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !END_TO_END.contains(&name.as_str()))
        .collect();
    let dropped = |name: &HeaderName| named.contains(name) || HOP_BY_HOP.contains(&name.as_str());
    if !headers.keys().any(dropped) {
        return;
    }
    // Not with `remove`, which changes the order of the rest.
    let kept = headers.iter().filter(|(name, _)| !dropped(name));
    *headers = kept
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
}

/// RFC 9112 §6.3: leaves one field for the length, which agrees with the body that hyper has decoded.
///
/// # Errors
///
/// If two lengths contradict each other, or if the body has a transfer coding besides `chunked`, which hyper does not
/// decode.
pub(crate) fn settle_length(headers: &mut HeaderMap, has_body: bool) -> Result<(), BadLength> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        let mut codings = list(headers, header::TRANSFER_ENCODING);
        let is_chunked = codings
            .next()
            .is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
            && codings.next().is_none();
        drop(codings);
        headers.remove(header::CONTENT_LENGTH);
        return (is_chunked || !has_body).then_some(()).ok_or(BadLength);
    }
    let Some(first) = list(headers, header::CONTENT_LENGTH).next() else {
        return Ok(());
    };
    let is_number = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
    if !is_number || list(headers, header::CONTENT_LENGTH).any(|length| length != first) {
        return Err(BadLength);
    }
    let length = HeaderValue::from_bytes(first).map_err(|_| BadLength)?;
    headers.insert(header::CONTENT_LENGTH, length);
    Ok(())
}

/// The length of a message is unclear, so that it cannot be passed on.
#[derive(Debug)]
pub(crate) struct BadLength;

/// The members of a list field, over all of its lines.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).into_iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members.map(<[u8]>::trim_ascii)
}

/// RFC 9112 §3.2: a request has one `Host` field. A request before HTTP/1.1 may have none: then it is for `origin`.
pub(crate) fn settle_host<B>(
    request: &mut Request<B>,
    origin: &HeaderValue,
) -> Result<(), StatusCode> {
    let mut lines = request.headers().get_all(header::HOST).iter();
    let is_one = match (lines.next(), lines.next()) {
        (Some(host), None) => is_host(host),
        (None, _) => request.version() < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    };
    if !is_one {
        return Err(StatusCode::BAD_REQUEST);
    }
    // RFC 9112 §3.2.2: the host in the request target counts.
    if let Some(authority) = request.uri().authority() {
        let host = HeaderValue::from_str(authority.as_str()).ok();
        let host = host.filter(is_host).ok_or(StatusCode::BAD_REQUEST)?;
        request.headers_mut().insert(header::HOST, host);
        // With the same form of target, all clients use the same entry in the cache.
        if let Some(path) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = Uri::from(path);
        }
    }
    let host = request.headers_mut().entry(header::HOST);
    host.or_insert_with(|| origin.clone());
    Ok(())
}

fn is_host(value: &HeaderValue) -> bool {
    value.is_empty()
        || !value.as_bytes().contains(&b'@') && Authority::try_from(value.as_bytes()).is_ok()
}

/// RFC 9110 §7.6.2: decrements `Max-Forwards` of a `TRACE` or `OPTIONS` request. False when this proxy is its last recipient.
pub(crate) fn may_go_on<B>(request: &mut Request<B>) -> bool {
    if request.method() != Method::OPTIONS && request.method() != Method::TRACE {
        return true;
    }
    let field = request.headers().get(header::MAX_FORWARDS);
    let left: Option<u32> = field.and_then(|value| value.to_str().ok()?.parse().ok());
    let Some(left) = left else { return true };
    let Some(less) = left.checked_sub(1) else {
        return false;
    };
    request
        .headers_mut()
        .insert(header::MAX_FORWARDS, less.into());
    true
}

/// RFC 9110 §9.3.8: the response to a `TRACE`: the request as it came, without the fields that may contain secrets.
pub(crate) fn traced<B>(request: &Request<B>) -> Vec<u8> {
    let target = request.uri().path_and_query();
    let target = target.map_or("*", |target| target.as_str());
    let line = format!("{} {target} {:?}\r\n", request.method(), request.version());
    let mut message = line.into_bytes();
    for (name, value) in request.headers() {
        if !SECRET.contains(name) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                message.extend_from_slice(part);
            }
        }
    }
    message.extend_from_slice(b"\r\n");
    message
}

/// RFC 9110 §7.6.3: `Via`, with the version of the received message.
pub(crate) fn via(received: Version) -> HeaderValue {
    HeaderValue::from_static(if received == Version::HTTP_10 {
        "1.0 tower-fred"
    } else {
        "1.1 tower-fred"
    })
}

const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Fields with credentials.
const SECRET: [HeaderName; 3] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
];

/// Standard fields that are end-to-end, also those of caching and of the Fetch standard.
const END_TO_END: [&str; 56] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "cache-group-invalidation",
    "cache-groups",
    "cdn-cache-control",
    "clear-site-data",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "trailer",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
    "x-content-type-options",
    "x-frame-options",
];
