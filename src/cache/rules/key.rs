//! The key of a request, and the target that purges and unsafe requests name.

use std::borrow::Cow;

use http::{Uri, request::Parts};

use super::{
    site::{Site, hosts},
    vary_by::VaryBy,
};
use crate::store::{
    Digest, Key, KeyBuilder,
    uri::{group, normal_host, normal_octets, normal_path},
};

/// The host, path and query of a request.
#[derive(Clone, Debug)]
pub(crate) struct Target<'a> {
    /// In lower case, without the default port.
    host: Cow<'a, str>,
    uri: Cow<'a, Uri>,
}

/// The key and the target of a request that may be answered from the cache; `None` if its URI and `Host` field disagree or
/// name no valid host.
///
/// `rewritten` is the digest of the URI that a layer outside has made of the request's.
pub(crate) fn key<'a>(
    parts: &'a Parts,
    rewritten: Option<&Digest>,
    vary_by: &VaryBy,
) -> Option<(Key, Target<'a>)> {
    let uri = requested(parts);
    let site = Site::of(uri, &parts.headers)?;
    let target = Target {
        host: normal_host(site.host()),
        uri: Cow::Borrowed(uri),
    };
    let policy = vary_by.of(parts, uri.query());
    let query = uri.query().filter(|_| vary_by.query.is_none());
    let group = target.group(vary_by);
    let is_normal = policy.is_none()
        && rewritten.is_none()
        && site.plain_host().is_some_and(|host| host == target.host)
        && normal_path(uri.path()) == uri.path()
        && query.is_none_or(|query| normal_octets(query) == query);
    if is_normal {
        // Most requests are normal: then one digest is enough.
        let resource = group;
        return Some((Key { resource, group }, target));
    }
    let mut key = KeyBuilder::new("request");
    site.add(&mut key);
    key.part(uri.path().as_bytes())
        .optional(query.map(str::as_bytes));
    for more in [rewritten, policy.as_ref()] {
        key.optional(more.map(|digest| &digest.as_bytes()[..]));
    }
    let resource = key.finish();
    Some((Key { resource, group }, target))
}

impl<'a> Target<'a> {
    /// The targets of an unsafe request: one for each host that it names.
    pub(crate) fn all(parts: &'a Parts) -> Vec<Self> {
        let uri = requested(parts);
        let of = |host: String| Self {
            host: host.into(),
            uri: Cow::Borrowed(uri),
        };
        hosts(uri, &parts.headers).into_iter().map(of).collect()
    }

    /// The target without its borrow of the request.
    pub(crate) fn into_owned(self) -> Target<'static> {
        Target {
            host: self.host.into_owned().into(),
            uri: Cow::Owned(self.uri.into_owned()),
        }
    }

    /// The group of entries that a change of this target outdates. If the policy names query parameters, it has all queries
    /// of the path.
    pub(crate) fn group(&self, vary_by: &VaryBy) -> Digest {
        let query = self.uri.query().filter(|_| vary_by.query.is_none());
        group(&self.host, self.uri.path(), query)
    }

    /// The origin within which cache groups are valid (RFC 9875 §2.1).
    pub(crate) fn origin(&self) -> Digest {
        KeyBuilder::new("origin")
            .part(self.host.as_bytes())
            .finish()
    }

    /// The target of a `Location` or `Content-Location` field, if it is on the same host.
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
        Some(self.at(uri))
    }

    fn same_host(&self, absolute: &str) -> Option<Target<'static>> {
        let uri: Uri = absolute.parse().ok()?;
        uri.scheme_str()
            .filter(|scheme| ["http", "https"].contains(scheme))?;
        (normal_host(uri.authority()?.as_str()) == self.host).then(|| self.at(uri))
    }

    /// Another URI on the same host.
    fn at(&self, uri: Uri) -> Target<'static> {
        Target {
            host: self.host.clone().into_owned().into(),
            uri: Cow::Owned(uri),
        }
    }

    /// RFC 3986 §5.2, for a reference without scheme, authority and fragment. Dot segments stay; normalizing removes them.
    fn resolve(&self, reference: &str) -> String {
        let path_end = reference.find('?').unwrap_or(reference.len());
        let (path, query) = reference.split_at(path_end);
        let (base, _) = self.uri.path().rsplit_once('/').unwrap_or_default();
        match path {
            "" => format!("{}{query}", self.uri.path()),
            _ if path.starts_with('/') => reference.to_owned(),
            _ => format!("{base}/{reference}"),
        }
    }
}

/// The URI that the client sent. The URI in the request may lack the prefix of a nested axum router.
fn requested(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(original) = parts.extensions.get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    &parts.uri
}

#[cfg(test)]
mod tests {
    use http::{Request, header};
    use proptest::prelude::*;

    use super::*;

    fn parts(uri: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::get(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn key_of(uri: &str, hosts: &[&str]) -> Key {
        let parts = parts(uri, hosts);
        let key = key(&parts, None, &VaryBy::default());
        key.expect("one host").0
    }

    fn target(uri: &str, host: &str) -> Target<'static> {
        let parts = parts(uri, &[host]);
        let mut all = Target::all(&parts);
        all.pop().expect("a target").into_owned()
    }

    /// Regression: some of these forms shared an entry, although a handler may make different links of each.
    #[test]
    fn what_a_handler_sees_is_kept_apart_and_purged_together() {
        let forms = [
            key_of("/~a?b", &["shop.example"]),
            key_of("/~a?b", &["shop.example:80"]),
            key_of("/~a?b", &["shop.example:443"]),
            key_of("/~a?b", &["shop.example:"]),
            key_of("/%7Ea?b", &["shop.example"]),
            key_of("/%7ea?b", &["shop.example"]),
            key_of("/./~a?b", &["shop.example"]),
            key_of("/~a?%62", &["shop.example"]),
            key_of("http://shop.example/~a?b", &[]),
            key_of("https://shop.example/~a?b", &[]),
            key_of("http://shop.example:80/~a?b", &[]),
            key_of("http://shop.example:80/~a?b", &["shop.example"]),
            key_of("http://shop.example/~a?b", &["shop.example:80"]),
            key_of("http://shop.example/~a?b", &["shop.example"]),
        ];
        for (at, one) in forms.iter().enumerate() {
            let same = |other: &&Key| other.resource == one.resource;
            assert_eq!(forms.iter().find(same), Some(&forms[at]), "{at}");
            assert_eq!(one.group, forms[0].group, "{at}");
        }
        // A normal form needs one digest only.
        assert_eq!(forms[0].resource, forms[0].group);
        // RFC 9110 §4.2.3: scheme and host are case-insensitive.
        assert_eq!(key_of("/~a?b", &["Shop.Example"]), forms[0]);
        assert_eq!(key_of("HTTP://SHOP.example/~a?b", &[]), forms[8]);
    }

    #[test]
    fn other_resources_have_other_groups() {
        let one = key_of("/a?b", &["shop.example"]).group;
        for (uri, hosts) in [
            ("/a?b", &["other.example"][..]),
            ("/a?b", &["shop.example:8080"]),
            ("/a?b", &[]),
            ("/a", &["shop.example"]),
            ("/A?b", &["shop.example"]),
            ("/a%3Fb", &["shop.example"]),
        ] {
            assert_ne!(key_of(uri, hosts).group, one, "{uri} {hosts:?}");
        }
        assert_ne!(key_of("/", &[""]).resource, key_of("/", &[]).resource);
    }

    #[test]
    fn what_is_seen_besides_is_in_the_key_alone() {
        let parts = parts("/home", &["shop.example"]);
        let more = ["ann", "bob"].map(|name| KeyBuilder::new(name).finish());
        let keys = [None, Some(&more[0]), Some(&more[1])]
            .map(|more| key(&parts, more, &VaryBy::default()).expect("one host").0);
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            assert_ne!(keys[one].resource, keys[other].resource);
            assert_eq!(keys[one].group, keys[other].group);
        }
    }

    #[test]
    fn references_are_resolved() {
        let base = target("/dir/page?q=1", "shop.example");
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
            // Equivalent forms.
            ("http://shop.example:80", "/"),
            ("http://shop.example?x", "/?x"),
            ("/%7eann", "/~ann"),
            ("%2e%2E/up", "/up"),
        ] {
            let found = base
                .refer(reference.as_bytes())
                .map(|target| target.group(&VaryBy::default()));
            assert_eq!(
                found,
                Some(group(
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
        let base = target("/dir/page", "shop.example");
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
        fn nothing_panics(reference in "[a-z/.?#:%é \\\\@-]{0,30}") {
            let base = target("/dir/page", "shop.example");
            let _ = base.refer(reference.as_bytes());
        }
    }
}
