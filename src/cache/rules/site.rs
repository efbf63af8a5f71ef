//! The names of the site in a request: the scheme and authority of its URI, and its `Host` field.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Uri, header, uri::Authority};

use crate::store::{
    KeyBuilder,
    uri::{in_lower_case, normal_host},
};

/// The names of a site as a handler sees them. It may make links from any of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    field: Option<&'a str>,
}

impl<'a> Site<'a> {
    /// `None` if URI and `Host` disagree, or if one is not a valid host: the handler may use the other one.
    pub(crate) fn of(uri: &'a Uri, headers: &'a HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(header::HOST).iter();
        let (field, more) = (lines.next(), lines.next());
        if more.is_some() {
            return None;
        }
        let field = match field {
            Some(field) => Some(host_of(field)?),
            None => None,
        };
        let authority = uri.authority().map(Authority::as_str);
        if let (Some(authority), Some(field)) = (authority, field) {
            if normal_host(authority) != normal_host(field) {
                return None;
            }
        }
        // RFC 9110 §4.2.4: an error
        if authority.is_some_and(|authority| authority.contains('@')) {
            return None;
        }
        Some(Self {
            scheme: uri.scheme_str(),
            authority,
            field,
        })
    }

    /// The host and port, as the client sent them.
    pub(crate) fn host(&self) -> &'a str {
        self.authority.or(self.field).unwrap_or_default()
    }

    /// The host in lower case, if the request names it as HTTP/1.1 does: in the `Host` field only, or not at all.
    pub(crate) fn plain_host(&self) -> Option<Cow<'a, str>> {
        let is_plain = self.scheme.is_none() && self.authority.is_none() && self.field != Some("");
        is_plain.then(|| in_lower_case(self.host()))
    }

    /// Adds all names to a key, in lower case.
    pub(crate) fn add(&self, key: &mut KeyBuilder) {
        for name in [self.scheme, self.authority, self.field] {
            key.optional(name.map(in_lower_case).as_deref().map(str::as_bytes));
        }
    }
}

/// All hosts that a request names, normalized, whether or not they agree; the empty one if it names none.
pub(crate) fn hosts(uri: &Uri, headers: &HeaderMap) -> Vec<String> {
    let mut lines = headers.get_all(header::HOST).iter();
    // Of several lines, handlers use the first or the last one.
    let fields = [lines.next(), lines.next_back()];
    let fields = fields.into_iter().flatten();
    let fields = fields.filter_map(|field| std::str::from_utf8(field.as_bytes()).ok());
    let authority = uri.authority().map(Authority::as_str);
    let all = authority.into_iter().chain(fields);
    let mut all: Vec<String> = all.map(|host| normal_host(host).into_owned()).collect();
    all.sort_unstable();
    all.dedup();
    if all.is_empty() {
        all.push(String::new());
    }
    all
}

/// The text of a `Host` field that is valid (RFC 9112 §3.2) or empty. The handler may read an invalid one differently.
fn host_of(field: &HeaderValue) -> Option<&str> {
    let text = std::str::from_utf8(field.as_bytes()).ok()?;
    // The parser allocates; most hosts do not need it.
    let is_host = || !text.contains('@') && text.parse::<Authority>().is_ok();
    (text.is_empty() || is_plain_name(text) || is_host()).then_some(text)
}

/// Whether it is a host name of letters, digits, `-` and `.`, with or without a port.
fn is_plain_name(text: &str) -> bool {
    let (name, port) = text.split_once(':').unwrap_or((text, "80"));
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_number = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    is_number && !name.is_empty() && name.bytes().all(in_name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(hosts: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_str(host).expect("a value"));
        }
        headers
    }

    #[test]
    fn contradictory_hosts_name_no_site() {
        let is_site = |uri: &str, hosts: &[&str]| {
            let uri = uri.parse().expect("a URI");
            Site::of(&uri, &headers(hosts)).is_some()
        };
        assert!(is_site("http://a.example:80/", &["A.example"]));
        assert!(!is_site("http://a.example/", &["b.example"]));
        assert!(!is_site("http://u@a.example/", &["a.example"]));
        assert!(!is_site("http://u@a.example/", &[]));
        assert!(!is_site("/", &["a.example", "b.example"]));
        assert!(!is_site("/", &["a.example", "a.example"]));
        for host in [
            "evil.example/@a.example",
            "u@a.example",
            "a.example?b",
            "a b",
            "a#b",
        ] {
            assert!(!is_site("/", &[host]), "{host}");
        }
    }

    #[test]
    fn all_hosts_are_named() {
        let named =
            |uri: &str, lines: &[&str]| hosts(&uri.parse().expect("a URI"), &headers(lines));
        assert_eq!(named("/", &[]), [""]);
        assert_eq!(named("/", &["A.example:80"]), ["a.example"]);
        assert_eq!(
            named("http://a.example/", &["a.example:443"]),
            ["a.example"]
        );
        assert_eq!(
            named("http://a.example/", &["c.example", "x", "b.example"]),
            ["a.example", "b.example", "c.example"]
        );
    }

    proptest! {
        #[test]
        fn a_plain_name_is_one_to_the_parser_too(text in "[a-zA-Z0-9.:@-]{0,12}") {
            prop_assert!(!is_plain_name(&text) || text.parse::<Authority>().is_ok());
        }
    }
}
