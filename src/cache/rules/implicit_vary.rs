//! Request fields from which handlers make links and redirects, although their answers do not name them in `Vary`.
//!
//! They are part of each key. Otherwise a client could store an answer with its links for others (web cache poisoning).

use http::{HeaderMap, HeaderName};

use crate::{cache::rfc::cache_control::next_member, store::KeyBuilder};

pub(crate) fn has_any(request: &HeaderMap) -> bool {
    let may_be = |name: &str| name.starts_with(['x', 'f']);
    request
        .keys()
        .map(HeaderName::as_str)
        .any(|name| may_be(name) && IMPLICIT.contains(&name))
}

/// Adds those that a request has to the key.
pub(crate) fn add(key: &mut KeyBuilder, request: &HeaderMap) {
    for name in IMPLICIT {
        for line in request.get_all(name) {
            key.part(name.as_bytes());
            match name {
                FORWARDED => key.part(&of_site(line.as_bytes())),
                _ => key.part(line.as_bytes()),
            };
        }
    }
}

/// The parameters of `Forwarded` without those that name the client and the proxy: `host` and `proto` (RFC 7239 §5.3, §5.4)
/// and unknown ones stay.
fn of_site(value: &[u8]) -> Vec<u8> {
    let mut site = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        let (element, _, after) = next_member(rest);
        for pair in pairs(element) {
            let at = pair.iter().position(|byte| *byte == b'=');
            let name = pair[..at.unwrap_or(pair.len())].trim_ascii();
            if !OF_CLIENT
                .iter()
                .any(|other| name.eq_ignore_ascii_case(other))
            {
                site.extend_from_slice(pair.trim_ascii());
                site.push(b';');
            }
        }
        site.push(b',');
        rest = after;
    }
    site
}

/// Splits at semicolons outside quotation marks.
fn pairs(element: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    element.split(move |byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        *byte == b';' && !quoted
    })
}

const FORWARDED: &str = "forwarded";
const OF_CLIENT: [&[u8]; 2] = [b"for", b"by"];

const IMPLICIT: [&str; 18] = [
    FORWARDED,
    "front-end-https",
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-forwarded-uri",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_forwarded_the_site_counts_and_not_the_client() {
        let site = |text: &str| of_site(text.as_bytes());
        assert_eq!(
            site("for=192.0.2.1;host=a;proto=https"),
            site("For=192.0.2.2; host=a; proto=https")
        );
        for other in [
            "host=b;proto=https",
            "proto=https",
            "host=\"a;for=\";proto=https",
            "host=a;proto=https, host=b",
        ] {
            assert_ne!(site(other), site("for=x;host=a;proto=https"), "{other}");
        }
    }

    #[test]
    fn they_count_by_name_and_value() {
        let of = |lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let mut key = KeyBuilder::new("test");
            add(&mut key, &headers);
            has_any(&headers).then(|| key.finish())
        };
        assert_eq!(of(&[("accept", "x"), ("x-forwarded-for", "a")]), None);
        // It names the proxy, which Apache puts there: several proxies would make several entries.
        assert_eq!(of(&[("x-forwarded-server", "proxy.example")]), None);
        assert_ne!(of(&[("x-host", "a")]), of(&[("x-host", "b")]));
        assert_ne!(of(&[("x-host", "a")]), of(&[("x-forwarded-host", "a")]));
        assert_ne!(of(&[("x-host", "")]), None);
        // A handler may read the first line, or the last, and blanks say what it makes of them.
        let lines = [("x-host", "a"), ("x-host", "b")];
        assert_ne!(of(&lines), of(&[("x-host", "a, b")]));
        assert_ne!(of(&lines), of(&[lines[1], lines[0]]));
        assert_ne!(of(&[("x-host", "a, b")]), of(&[("x-host", "a,b")]));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[a-z=;, \"\\\\]{0,40}") {
            let _ = of_site(text.as_bytes());
        }
    }
}
