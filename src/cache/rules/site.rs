//! What names the site in a request: the scheme and authority of its URI, and its `Host` field.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Uri, header, uri::Authority};

use crate::store::{
    KeyBuilder,
    uri::{in_lower_case, normal_host},
};

/// The names of a site as a handler sees them, which may make links of any of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    field: Option<&'a str>,
}

impl<'a> Site<'a> {
    /// `None` if the request contradicts itself about its host, or names what is none: the handler may believe the other.
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

    /// The host and port, as they came.
    pub(crate) fn host(&self) -> &'a str {
        self.authority.or(self.field).unwrap_or_default()
    }

    /// The only name there is, in lower case, if it comes as HTTP/1.1 has it: in the field, or not at all.
    pub(crate) fn plain_host(&self) -> Option<Cow<'a, str>> {
        let is_plain = self.scheme.is_none() && self.authority.is_none() && self.field != Some("");
        is_plain.then(|| in_lower_case(self.host()))
    }

    /// Adds all names, in which only the letter case makes no difference.
    pub(crate) fn add(&self, key: &mut KeyBuilder) {
        for name in [self.scheme, self.authority, self.field] {
            key.optional(name.map(in_lower_case).as_deref().map(str::as_bytes));
        }
    }
}

/// The normal hosts that a request names, whether or not they agree; the empty one when it names none.
pub(crate) fn hosts(uri: &Uri, headers: &HeaderMap) -> Vec<String> {
    let mut lines = headers.get_all(header::HOST).iter();
    // A handler that takes the first of several lines, or the last one.
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

/// A `Host` field that is one (RFC 9112 §3.2), or empty. Others may mean one thing here and another to the handler.
fn host_of(field: &HeaderValue) -> Option<&str> {
    let text = std::str::from_utf8(field.as_bytes()).ok()?;
    // What most are needs no parser, which takes memory.
    let is_host = || !text.contains('@') && text.parse::<Authority>().is_ok();
    (text.is_empty() || is_plain_name(text) || is_host()).then_some(text)
}

/// A name with or without a port, in letters that need no care.
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
