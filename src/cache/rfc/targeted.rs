//! Targeted cache control (RFC 9213): fields that replace `Cache-Control` for certain caches.

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::cache_control::{Argument, CacheControl, MAX_SECONDS};

/// The directives of an answer that apply to this cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stated {
    pub(crate) directives: CacheControl,
    /// Whether they are from a targeted field: then `Expires` and `Cache-Control` are ignored (RFC 9213 §2.2).
    pub(crate) is_targeted: bool,
}

impl Stated {
    /// Reads the first of the `targets` that the answer has and that is valid, or `Cache-Control`.
    pub(crate) fn of(headers: &HeaderMap, targets: &[HeaderName]) -> Self {
        let targeted = targets.iter().find_map(|name| field(headers, name));
        let is_targeted = targeted.is_some();
        Self {
            directives: targeted.unwrap_or_else(|| CacheControl::parse(headers)),
            is_targeted,
        }
    }
}

/// RFC 9213 §2.1: a dictionary. It is ignored if it is empty or invalid, or if a directive has a value of the wrong type.
fn field(headers: &HeaderMap, name: &HeaderName) -> Option<CacheControl> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(AsRef::as_ref).collect();
    let all = lines.join(&b","[..]);
    let members: Dictionary = Parser::new(&all).parse().ok()?;
    if members.is_empty() {
        return None;
    }
    let mut directives = CacheControl::default();
    for (key, value) in &members {
        apply(&mut directives, key.as_str(), value)?;
    }
    Some(directives)
}

fn apply(directives: &mut CacheControl, key: &str, value: &ListEntry) -> Option<()> {
    let item = match value {
        ListEntry::Item(item) => Some(&item.bare_item),
        ListEntry::InnerList(_) => None,
    };
    let name = key.as_bytes();
    if NUMBERS.contains(&key) {
        let seconds = i64::from(item?.as_integer()?).clamp(0, MAX_SECONDS.into());
        directives.apply(name, &Argument::Text(seconds.to_string().as_bytes()));
    } else if FLAGS.contains(&key) {
        match item? {
            BareItem::Boolean(true) => directives.apply(name, &Argument::Missing),
            BareItem::Boolean(false) => {}
            // RFC 9111 §5.2.2.4 and §5.2.2.7: the names of fields
            BareItem::String(fields) => {
                directives.apply(name, &Argument::Text(fields.as_str().as_bytes()));
            }
            _ => return None,
        }
    }
    Some(())
}

const NUMBERS: [&str; 4] = [
    "max-age",
    "s-maxage",
    "stale-if-error",
    "stale-while-revalidate",
];

const FLAGS: [&str; 7] = [
    "must-revalidate",
    "must-understand",
    "no-cache",
    "no-store",
    "private",
    "proxy-revalidate",
    "public",
];

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};
    use proptest::prelude::*;

    use super::*;

    const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");
    const OWN: HeaderName = HeaderName::from_static("shop-cache-control");

    fn stated(lines: &[(HeaderName, &str)]) -> Stated {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a field value");
            headers.append(name, value);
        }
        Stated::of(&headers, &[OWN, CDN])
    }

    #[test]
    fn the_first_valid_field_counts_and_no_other() {
        let general = (header::CACHE_CONTROL, "no-store, max-age=1");
        for (lines, max_age, is_targeted) in [
            (vec![general.clone()], Some(1), false),
            (vec![general.clone(), (CDN, "max-age=2")], Some(2), true),
            (vec![(CDN, "max-age=2"), (OWN, "max-age=3")], Some(3), true),
            (vec![(CDN, "max-age=2"), (OWN, "")], Some(2), true),
            (vec![(CDN, "max-age=2"), (OWN, "&&&")], Some(2), true),
            (vec![(CDN, "foobar"), general.clone()], None, true),
            (vec![(CDN, "a=1"), (CDN, "max-age=4")], Some(4), true),
        ] {
            let stated = stated(&lines);
            assert_eq!(stated.directives.max_age, max_age, "{lines:?}");
            assert_eq!(stated.is_targeted, is_targeted, "{lines:?}");
            assert_eq!(stated.directives.no_store, !is_targeted, "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_dictionary_of_the_right_types_is_ignored() {
        for text in [
            "max-age =100",
            "max-age=10000, &&&&&",
            "max-age=\"10000\"",
            "max-age=1.5",
            "max-age=abc",
            "max-age",
            "max-age=(1 2)",
            "private=7",
            "no-store=maybe",
            "max-age=100,",
            "MaX-aGe=3600",
        ] {
            assert!(!stated(&[(CDN, text)]).is_targeted, "{text}");
        }
    }

    #[test]
    fn parameters_and_unknown_members_are_ignored() {
        let both = stated(&[(CDN, "max-age=60;x=1, foo=(1 2), private=?0, bar=\"q\"")]);
        assert_eq!(both.directives.max_age, Some(60));
        assert!(!both.directives.private.is_everything());
        let huge = stated(&[(CDN, "max-age=99999999999")]);
        assert_eq!(huge.directives.max_age, Some(MAX_SECONDS));
        assert_eq!(stated(&[(CDN, "max-age=-1")]).directives.max_age, Some(0));
        let named = stated(&[(CDN, "no-cache=\"x-a\", private")]);
        assert_eq!(named.directives.no_cache.fields(), ["x-a"]);
        assert!(named.directives.private.is_everything());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[a-z=\", ;?():0-9.-]{0,60}") {
            let _ = stated(&[(CDN, text.as_str())]);
        }
    }
}
