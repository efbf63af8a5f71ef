//! What proxies say in header fields, the last first. `None` stands for something that is no address.

use std::{
    net::{IpAddr, SocketAddr},
    str,
};

use http::HeaderMap;

/// The addresses of `X-Forwarded-For`, whose lines are one list.
pub(super) fn addresses(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let parts = |line| unquoted(line, b',', Quotes::Plain);
    last_first(headers, "x-forwarded-for", parts).map(address)
}

/// The address of `X-Real-IP`. Two of them are none: one is not the proxy's.
pub(super) fn real_ip(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let mut lines = headers.get_all("x-real-ip").iter();
    let (first, second) = (lines.next(), lines.next());
    let only = first.filter(|_| second.is_none());
    first.map(|_| address(only?.as_bytes())).into_iter()
}

/// The `for` of each element of `Forwarded` (RFC 7239 §4).
pub(super) fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let parts = |line| unquoted(line, b',', Quotes::Quote);
    last_first(headers, "forwarded", parts).map(node)
}

/// The parts of all lines of a field, the last first. One that is no text is no address, whatever is beside it.
fn last_first<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
    parts: impl Fn(&'a [u8]) -> Vec<&'a [u8]>,
) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).iter().rev();
    lines.flat_map(move |line| parts(line.as_bytes()).into_iter().rev())
}

/// An address, with or without a port, brackets around IPv6 or not.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim_matches(BLANK);
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(text)
        .parse()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
}

/// RFC 7239 §6: an element names a node by address and port, or as `unknown`, or by a name that hides it.
fn node(element: &[u8]) -> Option<IpAddr> {
    let mut values = unquoted(element, b';', Quotes::Quote)
        .into_iter()
        .filter_map(|pair| {
            let (name, value) = str::from_utf8(pair).ok()?.split_once('=')?;
            let is_for = name.trim_matches(BLANK).eq_ignore_ascii_case("for");
            is_for.then(|| value.trim_matches(BLANK))
        });
    // RFC 7239 §4: each parameter occurs once in an element
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let quoted = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let value = quoted.unwrap_or(value);
    address(value.as_bytes()).or_else(|| {
        // The port may be hidden.
        let (host, port) = value.rsplit_once(':')?;
        port.starts_with('_').then(|| address(host.as_bytes()))?
    })
}

/// Whether separators between quotes are none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Quote,
    Plain,
}

/// The parts between separators.
fn unquoted(text: &[u8], separator: u8, quotes: Quotes) -> Vec<&[u8]> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if quotes == Quotes::Quote => quoted = !quoted,
            _ if byte == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

const BLANK: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(name: &'static str, lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_bytes(line).expect("a value"));
        }
        headers
    }

    fn read(line: &str) -> Vec<Option<String>> {
        let headers = headers("forwarded", &[line.as_bytes()]);
        let hops = forwarded(&headers).map(|ip| ip.map(|ip| ip.to_string()));
        hops.collect()
    }

    #[test]
    fn nodes_of_rfc_7239() {
        let one = |text: &str| read(text).pop().flatten().unwrap_or_default();
        for (text, expected) in [
            ("for=192.0.2.43", "192.0.2.43"),
            ("For=192.0.2.43", "192.0.2.43"),
            ("FOR = 192.0.2.43", "192.0.2.43"),
            ("for=\"192.0.2.43\"", "192.0.2.43"),
            ("for=\"192.0.2.43:47011\"", "192.0.2.43"),
            ("for=192.0.2.43:47011", "192.0.2.43"),
            ("for=\"[2001:db8:cafe::17]\"", "2001:db8:cafe::17"),
            ("for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=\"[2001:db8:cafe::17]:_port\"", "2001:db8:cafe::17"),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("by=203.0.113.43;proto=http;for=192.0.2.60", "192.0.2.60"),
            ("host=\"a;for=1.1.1.1\";for=192.0.2.60", "192.0.2.60"),
            ("host=\"a\\\";for=1.1.1.1\";for=192.0.2.60", "192.0.2.60"),
            ("for=unknown", ""),
            ("for=_hidden", ""),
            ("for=\"_gazonk\"", ""),
            ("by=203.0.113.43", ""),
            ("for=192.0.2.1;for=192.0.2.2", ""),
            ("for=", ""),
            ("for=\"", ""),
            ("", ""),
        ] {
            assert_eq!(one(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_last_is_the_first() {
        let expected = [
            Some("192.0.2.2".to_owned()),
            None,
            Some("192.0.2.1".to_owned()),
        ];
        assert_eq!(read("for=192.0.2.1, for=unknown,for=192.0.2.2"), expected);
        let lines = headers(
            "x-forwarded-for",
            &[b"192.0.2.1", b"\xff\xfe", b"192.0.2.2, x"],
        );
        let hops: Vec<_> = addresses(&lines)
            .map(|ip| ip.map(|ip| ip.to_string()))
            .collect();
        let [first, last] = ["192.0.2.2", "192.0.2.1"].map(|ip| Some(ip.to_owned()));
        assert_eq!(hops, [None, first, None, last]);
    }

    #[test]
    fn two_real_addresses_are_none() {
        let of = |lines: &[&[u8]]| real_ip(&headers("x-real-ip", lines)).next();
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[b"192.0.2.1"]), Some("192.0.2.1".parse().ok()));
        assert_eq!(of(&[b"192.0.2.1", b"192.0.2.1"]), Some(None));
        assert_eq!(of(&[b"192.0.2.1, 192.0.2.2"]), Some(None));
    }

    proptest! {
        #[test]
        fn anything_can_be_read(lines: Vec<Vec<u8>>) {
            for name in ["forwarded", "x-forwarded-for", "x-real-ip"] {
                let mut headers = HeaderMap::new();
                for line in &lines {
                    if let Ok(value) = HeaderValue::from_bytes(line) {
                        headers.append(name, value);
                    }
                }
                addresses(&headers).for_each(drop);
                forwarded(&headers).for_each(drop);
                real_ip(&headers).for_each(drop);
            }
        }
    }
}
