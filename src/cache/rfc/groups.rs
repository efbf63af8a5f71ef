//! Cache groups (RFC 9875): answers of one origin that are invalidated together.

use http::{HeaderMap, HeaderName};
use sfv::{List, ListEntry, Parser};

use crate::store::{Digest, KeyBuilder, Tag};

/// The groups that an answer of `origin` belongs to.
pub(crate) fn members(origin: &Digest, headers: &HeaderMap) -> Vec<Tag> {
    tags(origin, headers, &CACHE_GROUPS)
}

/// The groups that an answer to an unsafe request invalidates.
pub(crate) fn invalidated(origin: &Digest, headers: &HeaderMap) -> Vec<Tag> {
    tags(origin, headers, &CACHE_GROUP_INVALIDATION)
}

/// RFC 9875 §2 and §3: a list of strings, compared byte for byte. A field that is not such a list is ignored.
fn tags(origin: &Digest, headers: &HeaderMap, name: &HeaderName) -> Vec<Tag> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(AsRef::as_ref).collect();
    if lines.is_empty() {
        return Vec::new();
    }
    let all = lines.join(&b","[..]);
    let Ok(members) = Parser::new(&all).parse::<List>() else {
        return Vec::new();
    };
    let names: Option<Vec<_>> = members.iter().map(string).collect();
    let tag = |name: &str| {
        let group = KeyBuilder::new("cache group")
            .part(origin.as_bytes())
            .part(name.as_bytes())
            .finish();
        Tag::of_group(&group)
    };
    let names = names.unwrap_or_default();
    names.into_iter().take(MOST_GROUPS).map(tag).collect()
}

fn string(member: &ListEntry) -> Option<&str> {
    match member {
        ListEntry::Item(item) => item.bare_item.as_string().map(sfv::StringRef::as_str),
        ListEntry::InnerList(_) => None,
    }
}

const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");
/// RFC 9875 §2 requires at least 32.
const MOST_GROUPS: usize = 64;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::store::key::resource;

    fn groups(lines: &[&'static str]) -> Vec<Tag> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_GROUPS, HeaderValue::from_static(line));
        }
        members(&resource("host", "/", None), &headers)
    }

    #[test]
    fn groups_are_strings_compared_as_they_are() {
        let one = groups(&["\"a\", \"b\";x=1"]);
        assert_eq!(one.len(), 2);
        assert_eq!(groups(&["\"a\"", "\"b\""]), one);
        assert_ne!(groups(&["\"A\"", "\"b\""]), one);
        for other in ["a, b", "\"a\", 7", "\"a", "(\"a\")", ""] {
            assert_eq!(groups(&[other]), [], "{other}");
        }
        let elsewhere = resource("other", "/", None);
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_GROUPS, HeaderValue::from_static("\"a\", \"b\""));
        assert_ne!(members(&elsewhere, &headers), one);
        assert_eq!(invalidated(&elsewhere, &headers), []);
    }
}
