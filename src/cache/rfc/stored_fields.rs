//! The fields of an answer that are stored (RFC 9111 §3.1).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::date;

/// The fields to store: all but those of the connection, those of one exchange, and the `withheld` ones.
///
/// If there is no `Date`, it is added: the time of receipt, `received`, in seconds of Unix time.
pub(crate) fn stored(headers: &HeaderMap, withheld: &[HeaderName], received: i64) -> HeaderMap {
    let mut stored = without(headers, |name| {
        withheld.contains(name) || EXCHANGE_FIELDS.contains(&name.as_str())
    });
    if !stored.contains_key(header::DATE) {
        if let Ok(date) = HeaderValue::try_from(date::format(received)) {
            stored.insert(header::DATE, date);
        }
    }
    stored
}

/// All fields but those of the connection.
pub(crate) fn forwarded(headers: &HeaderMap) -> HeaderMap {
    without(headers, |_| false)
}

/// Copies the fields, because removing some from a `HeaderMap` would change the order of the others.
fn without(headers: &HeaderMap, dropped: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let named: Vec<HeaderName> = connection_options(headers).collect();
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let of_connection = CONNECTION_FIELDS.contains(&name.as_str()) || named.contains(name);
        if !of_connection && !dropped(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// RFC 9110 §7.6.1: the fields that `Connection` names.
fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> + '_ {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}

/// RFC 9110 §7.6.1 and RFC 9111 §3.1: the fields of one connection.
const CONNECTION_FIELDS: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields about one exchange. `Age` is computed on each hit. The others would be wrong in any other answer; they are left
/// out although RFC 9111 §3.1 tells a cache to store all fields.
const EXCHANGE_FIELDS: [&str; 11] = [
    "age",
    "ratelimit",
    "ratelimit-policy",
    "server-timing",
    "traceparent",
    "tracestate",
    "x-correlation-id",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn fields_of_the_connection_are_left_out() {
        let all = headers(&[
            ("connection", "a, B"),
            ("connection", "keep-alive,, ?"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("proxy-connection", "x"),
            ("x-request-id", "7"),
            ("age", "7"),
            ("date", "as it came"),
        ]);
        assert_eq!(
            stored(&all, &[], 0),
            headers(&[("c", "3"), ("date", "as it came")])
        );
    }

    #[test]
    fn named_fields_are_left_out_and_repeated_ones_stay() {
        let all = headers(&[
            ("link", "1"),
            ("link", "2"),
            ("x-user", "ann"),
            ("x-user", "bob"),
            ("date", "d"),
        ]);
        let kept = stored(&all, &[HeaderName::from_static("x-user")], 0);
        assert_eq!(
            kept,
            headers(&[("link", "1"), ("link", "2"), ("date", "d")])
        );
    }

    #[test]
    fn a_missing_date_is_the_time_of_receipt() {
        assert_eq!(
            stored(&HeaderMap::new(), &[], 784_111_777),
            headers(&[("date", "Sun, 06 Nov 1994 08:49:37 GMT")])
        );
    }
}
