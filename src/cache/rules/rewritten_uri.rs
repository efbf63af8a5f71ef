//! Detects that a layer outside of the cache has changed the request's URI, which then has to be in the key.
//!
//! axum keeps the client's URI in the extensions, and each nested router removes its prefix from the path. So the path that
//! a service sees follows from the client's, unless a layer has replaced it.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::extract::{FromRequestParts, NestedPath, OriginalUri, RawPathParams};
use http::{Uri, request::Parts};

use crate::store::{Digest, KeyBuilder, uri::octets};

/// The digest of the URI that a layer outside has put in; `None` if the URI is what nested routers leave of the client's.
///
/// The digest is of the URI that the service sees, with its query only if `has_query`, and of the prefixes and parameters of
/// the nested routers.
pub(crate) fn rewritten(parts: &mut Parts, has_query: bool) -> Option<Digest> {
    let nested = parts.extensions.get::<NestedPath>().cloned();
    let nested = nested.as_ref().map(NestedPath::as_str);
    let captures = nested.is_some_and(|prefix| prefix.contains('{'));
    let captured = if captures { path_params(parts) } else { None };
    let (original, seen) = (&parts.extensions.get::<OriginalUri>()?.0, &parts.uri);
    let mut values = captured.iter().flatten().map(|(_, value)| value);
    let is_left = left(original.path(), nested.unwrap_or_default(), &mut values)
        .is_some_and(|left| left == seen.path());
    if is_left && are_beside_path_equal(original, seen) {
        return None;
    }
    let mut key = KeyBuilder::new("rewritten");
    key.optional(seen.scheme_str().map(str::as_bytes))
        .optional(
            seen.authority()
                .map(|authority| authority.as_str().as_bytes()),
        )
        .part(seen.path().as_bytes())
        .optional(seen.query().filter(|_| has_query).map(str::as_bytes))
        .optional(nested.map(str::as_bytes));
    for (name, value) in captured.iter().flatten() {
        key.part(name.as_bytes()).part(value.as_bytes());
    }
    Some(key.finish())
}

fn are_beside_path_equal(one: &Uri, other: &Uri) -> bool {
    one.scheme() == other.scheme()
        && one.authority() == other.authority()
        && one.query() == other.query()
}

/// The path after a router that is nested at `prefix`; `None` if the path is not under it. `captured` are the values of the
/// parameters in the prefix.
fn left<'a>(
    path: &'a str,
    prefix: &str,
    captured: &mut dyn Iterator<Item = &str>,
) -> Option<&'a str> {
    let mut rest = path;
    for expected in prefix.split('/').skip(1) {
        // The prefix ends in a slash.
        if expected.is_empty() {
            break;
        }
        let after = rest.strip_prefix('/')?;
        let (segment, _) = after.split_at(after.find('/').unwrap_or(after.len()));
        let is_under = if expected.starts_with('{') {
            octets(segment)
                .map(|(octet, _)| octet)
                .eq(captured.next()?.bytes())
        } else {
            segment == expected
        };
        rest = is_under.then(|| &after[segment.len()..])?;
    }
    Some(if rest.is_empty() { "/" } else { rest })
}

/// The path parameters that axum has captured; `None` if there are none, or if they are invalid.
fn path_params(parts: &mut Parts) -> Option<RawPathParams> {
    // This future is ready at once.
    let params = pin!(RawPathParams::from_request_parts(parts, &()));
    match params.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(params) => params.ok(),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_routers_leave_a_part_of_the_path() {
        for (path, prefix, captured, expected) in [
            ("/home", "", &[][..], Some("/home")),
            ("/a/home", "/a", &[], Some("/home")),
            ("/a", "/a", &[], Some("/")),
            ("/a/", "/a", &[], Some("/")),
            ("/a/home", "/a/", &[], Some("/home")),
            ("/a/b/home", "/a/b", &[], Some("/home")),
            ("/t/ann/home", "/t/{tenant}", &["ann"], Some("/home")),
            ("/t/a%20b/home", "/t/{tenant}", &["a b"], Some("/home")),
            // Replaced by a layer.
            ("/home", "/a", &[], None),
            ("/ab/home", "/a", &[], None),
            ("/t/ann/home", "/t/{tenant}", &["bob"], None),
            ("/t/ann/home", "/t/{tenant}", &[], None),
            ("/home", "/t/{tenant}", &["ann"], None),
        ] {
            let found = left(path, prefix, &mut captured.iter().copied());
            assert_eq!(found, expected, "{path} {prefix}");
        }
    }
}
