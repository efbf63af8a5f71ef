//! What a message says to the proxy itself, and not to those beyond it.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header,
    uri::Authority,
};

/// RFC 9110 §7.6.1: what is for the next neighbour only, and all that `Connection` names.
pub(crate) fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
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

/// RFC 9112 §3.2: a request names one host, unless it is older than that field.
pub(crate) fn settle_host<B>(request: &mut Request<B>) -> Result<(), StatusCode> {
    let mut lines = request.headers().get_all(header::HOST).iter();
    let is_one = match (lines.next(), lines.next()) {
        (Some(host), None) => is_host(host),
        (None, _) => request.version() < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    };
    if !is_one {
        return Err(StatusCode::BAD_REQUEST);
    }
    // RFC 9112 §3.2.2: that of the target counts.
    if let Some(authority) = request.uri().authority() {
        let host = HeaderValue::from_str(authority.as_str()).ok();
        let host = host.filter(is_host).ok_or(StatusCode::BAD_REQUEST)?;
        request.headers_mut().insert(header::HOST, host);
        // One form for all clients, and one entry in the cache.
        if let Some(path) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = Uri::from(path);
        }
    }
    Ok(())
}

fn is_host(value: &HeaderValue) -> bool {
    value.is_empty()
        || !value.as_bytes().contains(&b'@') && Authority::try_from(value.as_bytes()).is_ok()
}

/// RFC 9110 §7.6.2: counts down how far a request for what is on the way may go; false when it ends here.
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

/// RFC 9110 §7.6.3: with the version of what was received.
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
