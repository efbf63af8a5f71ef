//! Equivalent URIs and their normal form (RFC 9110 §4.2.3, RFC 3986 §6.2).

use std::{borrow::Cow, iter};

use super::key::{Digest, resource};

/// The digest that all equivalent forms of a URI share: what a purge of any of them names.
///
/// The scheme is not part of it: most servers do not know it.
pub(crate) fn group(host: &str, path: &str, query: Option<&str>) -> Digest {
    let query = query.map(normal_octets);
    resource(&normal_host(host), &normal_path(path), query.as_deref())
}

/// The host and port of a URI in lower case, without a default port.
pub(crate) fn normal_host(authority: &str) -> Cow<'_, str> {
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        // RFC 3986 §3.2.3: a decimal number, which may have leading zeros
        Some((name, port)) if matches!(port.trim_start_matches('0'), "" | "80" | "443") => name,
        _ => host,
    };
    in_lower_case(host)
}

/// A path without unneeded percent-encoding, and without `.` and `..`.
pub(crate) fn normal_path(path: &str) -> Cow<'_, str> {
    let path = match path {
        "" => "/",
        path => path,
    };
    let octets = normal_octets(path);
    if octets.starts_with('/') && octets.contains("/.") {
        return without_dots(&octets).into();
    }
    octets
}

/// A text in which every octet is written in one way: percent-encoded with upper-case digits, unless it is an unreserved
/// character. A reserved character stays as it is written, since it may mean one thing encoded and another plain.
pub(crate) fn normal_octets(text: &str) -> Cow<'_, str> {
    if text
        .bytes()
        .all(|byte| is_unreserved(byte) || is_reserved(byte))
    {
        return text.into();
    }
    let mut normal = String::with_capacity(text.len());
    for (octet, is_encoded) in octets(text) {
        // A percent sign that encodes nothing stays: it differs from an encoded one.
        let is_plain = !is_encoded && (is_reserved(octet) || octet == b'%');
        if is_unreserved(octet) || is_plain {
            normal.push(char::from(octet));
        } else {
            let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value & 15)]);
            normal.extend(['%', digit(octet >> 4), digit(octet)]);
        }
    }
    normal.into()
}

/// The octets of a text after decoding, and whether each was percent-encoded (RFC 3986 §2.1).
pub(crate) fn octets(text: &str) -> impl Iterator<Item = (u8, bool)> {
    let mut rest = text.as_bytes();
    iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        rest = after;
        if let (b'%', Some(octet)) = (first, hex_pair(after)) {
            rest = after.get(2..).unwrap_or_default();
            return Some((octet, true));
        }
        Some((first, false))
    })
}

fn hex_pair(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// RFC 3986 §2.3
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 §2.2
fn is_reserved(byte: u8) -> bool {
    matches!(
        byte,
        b':' | b'/'
            | b'?'
            | b'#'
            | b'['
            | b']'
            | b'@'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b';'
            | b'='
    )
}

/// RFC 3986 §5.2.4, for a path that begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

pub(crate) fn in_lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        text.to_ascii_lowercase().into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_compared_without_case_and_default_port() {
        for (written, normal) in [
            ("Example.COM", "example.com"),
            ("example.com:80", "example.com"),
            ("example.com:0080", "example.com"),
            ("example.com:443", "example.com"),
            ("example.com:", "example.com"),
            ("example.com:8080", "example.com:8080"),
            ("user:pw@example.com", "example.com"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
            ("[::80]", "[::80]"),
            ("", ""),
        ] {
            assert_eq!(normal_host(written), normal, "{written}");
        }
    }

    #[test]
    fn equivalent_forms_are_one() {
        for (written, normal) in [
            ("", "/"),
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/%7Ea", "/~a"),
            ("/%7ea", "/~a"),
            ("/%61", "/a"),
            ("/a%2fb", "/a%2Fb"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a|b", "/a%7Cb"),
            ("/a/./b/../c", "/a/c"),
            ("/a/%2e%2E/c", "/c"),
            ("/a/.", "/a/"),
            ("/..", "/"),
            ("//a", "//a"),
            ("/.a", "/.a"),
            ("/%", "/%"),
            ("/%7", "/%7"),
            ("/%zz", "/%zz"),
            ("*", "*"),
        ] {
            assert_eq!(normal_path(written), normal, "{written}");
        }
        assert_eq!(normal_octets("a=%7e&b=/../%2b"), "a=~&b=/../%2B");
        let one = group("shop.example", "/~a", Some("q=~"));
        assert_eq!(group("Shop.example:80", "/%7Ea", Some("q=%7e")), one);
    }

    #[test]
    fn what_is_reserved_means_something_else_encoded() {
        for (one, other) in [
            ("/a%2Fb", "/a/b"),
            ("/a%3Fb", "/a?b"),
            ("/a%2Bb", "/a+b"),
            ("/a%26b", "/a&b"),
            ("/%2561", "/%61"),
            ("/%25", "/%"),
            ("/A", "/a"),
            ("/a/", "/a"),
        ] {
            assert_ne!(normal_path(one), normal_path(other), "{one} {other}");
        }
        let host = "shop.example";
        assert_ne!(group(host, "/", Some("")), group(host, "/", None));
    }

    proptest! {
        #[test]
        fn normal_forms_stay_as_they_are(text in "[a-zA-Z/.%0-9~|é+ ]{0,20}") {
            let path = format!("/{text}");
            let once = normal_path(&path);
            prop_assert_eq!(normal_path(&once), once.clone());
            prop_assert!(once.is_ascii());
        }

        #[test]
        fn encoding_what_is_unreserved_changes_nothing(text in "[a-z~_-]{1,10}", at in 0usize..10) {
            let at = at % text.len();
            let encoded = format!("/{}%{:02x}{}", &text[..at], text.as_bytes()[at], &text[at + 1..]);
            prop_assert_eq!(normal_path(&encoded), format!("/{text}"));
        }
    }
}
