//! The addresses that proxies report in header fields, last first. `None` stands for something that is not an address.

use std::{
    net::{IpAddr, Ipv6Addr},
    str,
};

use http::HeaderMap;

/// The addresses of `X-Forwarded-For`; several field lines are one list.
pub(crate) fn addresses(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let parts = |line| split(line, b',', Quotes::Plain);
    last_first(headers, "x-forwarded-for", parts).map(address)
}

/// The address of `X-Real-IP`. Of two field lines, one may be the client's, so both are ignored.
pub(crate) fn real_ip(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let mut lines = headers.get_all("x-real-ip").iter();
    let (first, second) = (lines.next(), lines.next());
    let only = first.filter(|_| second.is_none());
    first.map(|_| address(only?.as_bytes())).into_iter()
}

/// The `for` of each element of `Forwarded` (RFC 7239 §4).
pub(crate) fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let parts = |line| split(line, b',', Quotes::Delimiter);
    last_first(headers, "forwarded", parts).map(node)
}

/// The parts of all lines of a field, last first. They are bytes: a part that is not text does not affect the others.
fn last_first<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
    parts: impl Fn(&'a [u8]) -> Vec<&'a [u8]>,
) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).iter().rev();
    lines.flat_map(move |line| parts(line.as_bytes()).into_iter().rev())
}

/// An address, with or without a port; IPv6 with or without brackets. A zone (RFC 4007 §11) is dropped: it has a
/// meaning only for the host that wrote it.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim_matches(BLANK);
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        let is_port = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return is_port.then(|| ipv6(host))?.map(IpAddr::V6);
    }
    if let Ok(v4) = text.parse() {
        return Some(IpAddr::V4(v4));
    }
    if let Some(v6) = ipv6(text) {
        return Some(IpAddr::V6(v6));
    }
    // The end of IPv6 without brackets is a port only if the whole text is not an address.
    let (host, port) = text.rsplit_once(':')?;
    let v4 = || host.parse().ok().map(IpAddr::V4);
    is_port(port).then(|| v4().or_else(|| ipv6(host).map(IpAddr::V6)))?
}

fn ipv6(text: &str) -> Option<Ipv6Addr> {
    let (address, zone) = text.split_once('%').unwrap_or((text, "none"));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    let is_zone = !zone.is_empty() && zone.bytes().all(is_name);
    is_zone.then(|| address.parse().ok())?
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// RFC 7239 §6: a node is an address with or without a port, `unknown`, or an obfuscated identifier.
fn node(element: &[u8]) -> Option<IpAddr> {
    let mut values = split(element, b';', Quotes::Delimiter)
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
        // The port may be obfuscated.
        let (host, port) = value.rsplit_once(':')?;
        port.starts_with('_').then(|| address(host.as_bytes()))?
    })
}

/// What a quotation mark is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// The begin or end of a quoted string, in which separators have no meaning.
    Delimiter,
    /// A character like others.
    Plain,
}

/// The parts between separators.
fn split(text: &[u8], separator: u8, quotes: Quotes) -> Vec<&[u8]> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if quotes == Quotes::Delimiter => quoted = !quoted,
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

    /// An address with a zone, and IPv6 with a port but without brackets, were no addresses, so that the proxy that
    /// wrote them counted in the client's place.
    #[test]
    fn addresses_in_every_form_that_proxies_write() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            (" 192.0.2.1:4711\t", "192.0.2.1"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:80", "2001:db8::7"),
            ("2001:db8::7:47110", "2001:db8::7"),
            ("2001:db8:1:2:3:4:5:6:80", "2001:db8:1:2:3:4:5:6"),
            ("fe80::1%eth0", "fe80::1"),
            ("fe80::1%25en1", "fe80::1"),
            ("[fe80::1%eth0.100]", "fe80::1"),
            ("[fe80::1%1]:8080", "fe80::1"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
            ("::ffff:192.0.2.1:80", "::ffff:192.0.2.1"),
            // Ambiguous: it is an address as it stands.
            ("2001:db8::7:80", "2001:db8::7:80"),
        ] {
            let found = address(text.as_bytes()).map(|ip| ip.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{text:?}");
        }
        for text in [
            "[192.0.2.1]",
            "[192.0.2.1]:80",
            "192.0.2.1:",
            "192.0.2.1:+80",
            "192.0.2.1:65536",
            "192.0.2.1%eth0",
            "[2001:db8::7",
            "[2001:db8::7]80",
            "[2001:db8::7]:",
            "2001:db8::7]",
            "fe80::1%",
            "fe80::1% a",
            "%eth0",
            "[]",
            "[]:80",
            ":80",
            "2001:db8:1:2:3:4:5:6:7:8",
        ] {
            assert_eq!(address(text.as_bytes()), None, "{text:?}");
        }
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
