//! Which resource a request is about.

use std::borrow::Cow;

use http::{HeaderValue, Uri, header, request::Parts, uri::Authority};

use super::vary_by::VaryBy;
use crate::store::{
    Digest, KeyBuilder,
    key::{in_lower_case, normal_host, resource},
};

/// What an entry is filed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) resource: Digest,
    /// What a policy makes part of the key besides.
    pub(crate) policy: Option<Digest>,
}

/// The host, path and query that a request is for.
#[derive(Clone, Debug)]
pub(crate) struct Target<'a> {
    host: Cow<'a, str>,
    uri: Cow<'a, Uri>,
}

impl<'a> Target<'a> {
    /// `None` if the request contradicts itself about its host: the handler may believe the other one.
    pub(crate) fn of(parts: &'a Parts) -> Option<Self> {
        let uri = requested(parts);
        let mut lines = parts.headers.get_all(header::HOST).iter();
        let (field, more) = (lines.next(), lines.next());
        if more.is_some() {
            return None;
        }
        let field = match field {
            Some(field) => Some(host_of(field)?),
            None => None,
        };
        let authority = uri.authority().map(Authority::as_str);
        let host = match (authority, field) {
            (Some(authority), Some(field)) if normal_host(authority) != normal_host(field) => {
                return None;
            }
            // As the handler sees it, port and all: it may make links of it.
            (_, Some(field)) => in_lower_case(field),
            (Some(authority), None) => normal_host(authority),
            (None, None) => Cow::Borrowed(""),
        };
        Some(Self {
            host,
            uri: Cow::Borrowed(uri),
        })
    }

    /// The same when the request it is of goes on.
    pub(crate) fn into_owned(self) -> Target<'static> {
        Target {
            host: self.host.into_owned().into(),
            uri: Cow::Owned(self.uri.into_owned()),
        }
    }

    /// What changes for this target make outdated: with a policy that names parameters, all queries of the path.
    pub(crate) fn resource(&self, vary_by: &VaryBy) -> Digest {
        let query = self.uri.query().filter(|_| vary_by.query.is_none());
        resource(&self.host, self.uri.path(), query)
    }

    pub(crate) fn key(&self, vary_by: &VaryBy, parts: &Parts) -> Key {
        Key {
            resource: self.resource(vary_by),
            policy: vary_by.of(parts, self.uri.query()),
        }
    }

    /// What cache groups are confined to (RFC 9875 §2.1).
    pub(crate) fn origin(&self) -> Digest {
        KeyBuilder::new("origin")
            .part(normal_host(&self.host).as_bytes())
            .finish()
    }

    /// What a `Location` or `Content-Location` field of an answer refers to, if it is on the same host.
    pub(crate) fn refer(&self, reference: &[u8]) -> Option<Target<'static>> {
        let reference = std::str::from_utf8(reference).ok()?.trim();
        let reference = reference
            .split('#')
            .next()
            .filter(|text| !text.is_empty())?;
        if let Some(rest) = reference.strip_prefix("//") {
            return self.same_host(&format!("http://{rest}"));
        }
        let path_end = reference.find(['/', '?']).unwrap_or(reference.len());
        if reference[..path_end].contains(':') {
            return self.same_host(reference);
        }
        let uri = self.resolve(reference).parse().ok()?;
        Some(Target {
            host: self.host.clone().into_owned().into(),
            uri: Cow::Owned(uri),
        })
    }

    fn same_host(&self, absolute: &str) -> Option<Target<'static>> {
        let uri: Uri = absolute.parse().ok()?;
        uri.scheme_str()
            .filter(|scheme| ["http", "https"].contains(scheme))?;
        let host = normal_host(uri.authority()?.as_str());
        (host == normal_host(&self.host)).then_some(())?;
        Some(Target {
            host: self.host.clone().into_owned().into(),
            uri: Cow::Owned(uri),
        })
    }

    /// RFC 3986 §5.2, for a reference without scheme, authority and fragment.
    fn resolve(&self, reference: &str) -> String {
        let (path, query) = match reference.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (reference, None),
        };
        let path: Cow<'_, str> = if path.is_empty() {
            self.uri.path().into()
        } else if path.starts_with('/') {
            without_dots(path).into()
        } else {
            let base = self
                .uri
                .path()
                .rsplit_once('/')
                .map_or("", |(base, _)| base);
            without_dots(&format!("{base}/{path}")).into()
        };
        match query {
            Some(query) => format!("{path}?{query}"),
            None => path.into_owned(),
        }
    }
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

/// The URI that the client asked for. axum takes the prefix of a nested router off the one in the request.
fn requested(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(original) = parts.extensions.get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    &parts.uri
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

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn target(uri: &str, hosts: &[&str]) -> Option<Target<'static>> {
        let mut request = Request::get(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let parts = request.body(()).expect("a request").into_parts().0;
        Target::of(&parts).map(Target::into_owned)
    }

    fn resource_of(uri: &str, hosts: &[&str]) -> Digest {
        target(uri, hosts)
            .expect("one host")
            .resource(&VaryBy::default())
    }

    #[test]
    fn the_host_comes_from_the_uri_or_the_field() {
        let one = resource_of("/a?b", &["shop.example"]);
        assert_eq!(resource_of("http://shop.example/a?b", &[]), one);
        assert_eq!(
            resource_of("https://SHOP.example:443/a?b", &["shop.example"]),
            one
        );
        assert_eq!(resource_of("/a?b", &["Shop.Example"]), one);
        // A handler may make links of it.
        assert_ne!(resource_of("/a?b", &["shop.example:80"]), one);
        assert_ne!(resource_of("/a?b", &["other.example"]), one);
        assert_ne!(resource_of("/a?b", &["shop.example:8080"]), one);
        assert_ne!(resource_of("/a?b", &[]), one);
    }

    #[test]
    fn contradictory_hosts_have_no_target() {
        assert!(target("http://a.example/", &["b.example"]).is_none());
        assert!(target("/", &["a.example", "b.example"]).is_none());
        assert!(target("/", &["a.example", "a.example"]).is_none());
        for host in [
            "evil.example/@a.example",
            "u@a.example",
            "a.example?b",
            "a b",
            "a#b",
        ] {
            assert!(target("/", &[host]).is_none(), "{host}");
        }
    }

    #[test]
    fn references_are_resolved() {
        let base = target("/dir/page?q=1", &["shop.example"]).expect("one host");
        for (reference, path_and_query) in [
            ("/other", "/other"),
            ("other", "/dir/other"),
            ("other?x=/../", "/dir/other?x=/../"),
            ("../up", "/up"),
            ("../../../up", "/up"),
            ("./", "/dir/"),
            ("..", "/"),
            ("a/./b/../c", "/dir/a/c"),
            ("?new", "/dir/page?new"),
            ("/frag#ment", "/frag"),
            ("http://shop.example/abs?x", "/abs?x"),
            ("https://SHOP.example:443/abs", "/abs"),
            ("//shop.example/net", "/net"),
            ("/time/12:30", "/time/12:30"),
        ] {
            let found = base
                .refer(reference.as_bytes())
                .map(|target| target.resource(&VaryBy::default()));
            assert_eq!(
                found,
                Some(resource(
                    "shop.example",
                    path_and_query.split('?').next().expect("a path"),
                    path_and_query.split_once('?').map(|(_, query)| query)
                )),
                "{reference}"
            );
        }
    }

    #[test]
    fn other_hosts_and_nonsense_refer_to_nothing() {
        let base = target("/dir/page", &["shop.example"]).expect("one host");
        for reference in [
            "http://other.example/",
            "http://shop.example:8080/",
            "//other.example/dir/page",
            "mailto:ann@shop.example",
            "",
            "#fragment",
            "http://",
            "/a b",
            "\u{0}",
        ] {
            assert!(base.refer(reference.as_bytes()).is_none(), "{reference}");
        }
        assert!(base.refer(b"/caf\xe9").is_none());
    }

    proptest! {
        #[test]
        fn a_plain_name_is_one_to_the_parser_too(text in "[a-zA-Z0-9.:@-]{0,12}") {
            prop_assert!(!is_plain_name(&text) || text.parse::<Authority>().is_ok());
        }

        #[test]
        fn nothing_panics(reference in "[a-z/.?#:%é \\\\@-]{0,30}") {
            let base = target("/dir/page", &["shop.example"]).expect("one host");
            let _ = base.refer(reference.as_bytes());
        }
    }
}
