//! The parts of a request that the layer's `vary_by_…` settings add to the key.

use std::{borrow::Cow, fmt, sync::Arc};

use http::{HeaderName, header, request::Parts};

use super::implicit_vary;
use crate::{
    cache::rfc::vary,
    personal::Personal,
    store::{Digest, KeyBuilder, uri::octets},
};

/// The `vary_by_…` settings: the key has these besides host, path and query.
#[derive(Clone, Default)]
pub(crate) struct VaryBy {
    pub(crate) headers: Vec<HeaderName>,
    /// The parameters that count; `None`: the whole query.
    pub(crate) query: Option<Vec<String>>,
    pub(crate) cookies: Vec<String>,
    pub(crate) values: Vec<Arc<Value>>,
    /// Whether the layer is inside a guard that reads the session: see `CacheLayer::behind_guard`.
    pub(crate) behind_guard: bool,
}

type Value = dyn Fn(&Parts) -> Vec<u8> + Send + Sync;

impl VaryBy {
    /// The digest of these parts of a request; `None` if nothing is added to the key.
    ///
    /// `requested` is the query that the client sent; a layer outside may have replaced the one in `parts`.
    pub(crate) fn of(&self, parts: &Parts, requested: Option<&str>) -> Option<Digest> {
        let is_plain = self.headers.is_empty()
            && self.query.is_none()
            && self.cookies.is_empty()
            && self.values.is_empty();
        let guarded = self.guarded(parts);
        if is_plain && guarded.is_none() && !implicit_vary::has_any(&parts.headers) {
            return None;
        }
        let mut key = KeyBuilder::new("vary by");
        if let Some(depth) = guarded {
            key.part(b"guarded").part(&depth.to_le_bytes());
        }
        implicit_vary::add(&mut key, &parts.headers);
        for name in &self.headers {
            let value = vary::value(&parts.headers, name);
            key.part(name.as_str().as_bytes())
                .optional(value.as_deref());
        }
        if let Some(wanted) = &self.query {
            let requested = requested.unwrap_or_default();
            for parameter in parameters(requested, wanted) {
                key.part(b"query").part(parameter.as_bytes());
            }
            let seen = parts.uri.query().unwrap_or_default();
            if !parameters(requested, wanted).eq(parameters(seen, wanted)) {
                key.part(b"rewritten");
                for parameter in parameters(seen, wanted) {
                    key.part(b"query").part(parameter.as_bytes());
                }
            }
        }
        for name in &self.cookies {
            // The count is in the key, because a value may look like the part that follows.
            let values: Vec<&[u8]> = cookies(parts, name.as_bytes()).collect();
            key.part(b"cookie").part(name.as_bytes());
            key.part(&values.len().to_le_bytes());
            for value in values {
                key.part(value);
            }
        }
        for value in &self.values {
            key.part(b"value").part(&value(parts));
        }
        Some(key.finish())
    }

    /// Set if the session was read outside of this layer, as a guard does. Then only a layer in the same place finds the
    /// entry; one outside of the guard does not.
    fn guarded(&self, parts: &Parts) -> Option<u32> {
        let extensions = self.behind_guard.then_some(&parts.extensions)?;
        Personal::guarded(extensions)
    }
}

/// The wanted parameters of a query, as the client wrote them. Their names are compared decoded, as a handler sees them.
fn parameters<'a>(query: &'a str, wanted: &'a [String]) -> impl Iterator<Item = &'a str> {
    query.split('&').filter(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        let name = decoded(name);
        wanted.iter().any(|wanted| wanted.as_bytes() == &*name)
    })
}

/// Decodes a parameter's name: `+` is a space, and `%41` is `A`.
fn decoded(name: &str) -> Cow<'_, [u8]> {
    if !name.contains(['+', '%']) {
        return name.as_bytes().into();
    }
    let meant = |(octet, is_encoded): (u8, bool)| match octet {
        b'+' if !is_encoded => b' ',
        octet => octet,
    };
    octets(name).map(meant).collect()
}

/// All values of a cookie, in the order of the request.
fn cookies<'a>(parts: &'a Parts, wanted: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let lines = parts.headers.get_all(header::COOKIE).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(move |pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
            (name == wanted).then_some(value)
        })
}

impl fmt::Debug for VaryBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaryBy")
            .field("headers", &self.headers)
            .field("query", &self.query)
            .field("cookies", &self.cookies)
            .field("values", &self.values.len())
            .field("behind_guard", &self.behind_guard)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn parts(query: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get(format!("/?{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn by_query(query: &str) -> Option<Digest> {
        let vary_by = VaryBy {
            query: Some(vec!["page".into(), "a b".into()]),
            ..VaryBy::default()
        };
        vary_by.of(&parts("", &[]), Some(query))
    }

    #[test]
    fn only_the_named_parameters_count() {
        assert_eq!(by_query("page=1&utm=x"), by_query("page=1"));
        assert_eq!(by_query("page=1&utm=x"), by_query("u&page=1&v="));
        assert_ne!(by_query("page=1"), by_query("page=2"));
        assert_ne!(by_query("page=1"), by_query("page=1&page=2"));
        assert_ne!(by_query("page=1"), by_query(""));
        assert_ne!(by_query("page="), by_query(""));
        // Names that a handler decodes to the same are equal.
        assert_ne!(by_query("p%61ge=2"), by_query(""));
        assert_ne!(by_query("a+b=2"), by_query(""));
        assert_ne!(by_query("a%20b=2"), by_query("a+b=3"));
        assert_eq!(by_query("p%6=2"), by_query(""));
        // A query that a layer outside has replaced counts too.
        let vary_by = VaryBy {
            query: Some(vec!["page".into()]),
            ..VaryBy::default()
        };
        let seen = |query: &str| vary_by.of(&parts(query, &[]), Some("page=1"));
        assert_eq!(seen("page=1"), seen("page=1&x"));
        assert_ne!(seen("page=1"), seen("page=2"));
        assert_ne!(seen("page=2"), seen("page=3"));
    }

    #[test]
    fn cookies_and_fields_count_by_name() {
        let vary_by = VaryBy {
            cookies: vec!["theme".into()],
            headers: vec![HeaderName::from_static("x-tenant")],
            ..VaryBy::default()
        };
        let of = |headers: &[(&str, &str)]| vary_by.of(&parts("", headers), None);
        let dark = of(&[("cookie", "sid=1; theme=dark")]);
        assert_eq!(dark, of(&[("cookie", "theme=dark"), ("cookie", "sid=2")]));
        assert_ne!(dark, of(&[("cookie", "theme=light")]));
        assert_ne!(dark, of(&[]));
        assert_ne!(dark, of(&[("cookie", "xtheme=dark")]));
        assert_ne!(dark, of(&[("cookie", "theme=dark"), ("x-tenant", "")]));
        // A value that looks like the part after it.
        let two = VaryBy {
            cookies: vec!["a".into(), "b".into()],
            ..VaryBy::default()
        };
        let of = |cookies: &str| two.of(&parts("", &[("cookie", cookies)]), None);
        assert_ne!(
            of("a=v1; a=cookie; a=b; a=v2"),
            of("a=v1; b=v2; b=cookie; b=b")
        );
        assert_ne!(of("a=cookie; a=b"), of("b=cookie; b=b"));
        assert_eq!(VaryBy::default().of(&parts("a=1", &[]), Some("a=1")), None);
    }

    #[test]
    fn values_count() {
        let vary_by = VaryBy {
            values: vec![Arc::new(|parts| parts.uri.path().as_bytes().to_vec())],
            ..VaryBy::default()
        };
        let of = |path: &str| {
            let request = Request::get(path).body(()).expect("a request");
            vary_by.of(&request.into_parts().0, None)
        };
        assert_eq!(of("/a"), of("/a"));
        assert_ne!(of("/a"), of("/b"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[a-z%+=&0-9é]{0,30}") {
            let _ = by_query(&text);
            let _ = decoded(&text);
        }
    }
}
