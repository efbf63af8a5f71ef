//! Evaluates a client's conditions against a stored answer (RFC 9110 §13, RFC 9111 §4.3.2).

use http::{HeaderMap, header};

use crate::cache::rfc::date;

/// Whether a client that sent these fields already has the stored answer and gets 304.
///
/// `now`, in seconds of Unix time, is for dates with two-digit years.
pub(crate) fn is_not_modified(request: &HeaderMap, stored: &HeaderMap, now: i64) -> bool {
    // RFC 9110 §13.2.2: If-Modified-Since counts only without If-None-Match
    if request.contains_key(header::IF_NONE_MATCH) {
        return is_listed(request, stored);
    }
    let mut lines = request.get_all(header::IF_MODIFIED_SINCE).iter();
    let (Some(since), None) = (lines.next(), lines.next()) else {
        return false;
    };
    // RFC 9111 §4.3.2: without Last-Modified, the Date of the answer counts
    let changed = stored
        .get(header::LAST_MODIFIED)
        .or(stored.get(header::DATE));
    let parse = |value: &http::HeaderValue| date::parse(value.as_bytes(), now);
    match (parse(since), changed.and_then(parse)) {
        (Some(since), Some(changed)) => changed <= since,
        _ => false,
    }
}

/// RFC 9110 §13.1.2: `*`, or a list that has the stored tag by weak comparison.
fn is_listed(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let lines = || request.get_all(header::IF_NONE_MATCH).iter();
    if lines().any(|line| line.as_bytes().trim_ascii() == b"*") {
        return true;
    }
    let Some(ours) = stored.get(header::ETAG) else {
        return false;
    };
    lines().any(|line| tags(line.as_bytes()).any(|tag| weakly_equal(tag, ours.as_bytes())))
}

/// Weak comparison (RFC 9110 §8.8.3.2). Tags that are not valid are compared as bytes too.
pub(crate) fn weakly_equal(one: &[u8], other: &[u8]) -> bool {
    let opaque = |tag| <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag);
    opaque(one) == opaque(other)
}

/// Whether `If-Range` matches the stored answer (RFC 9110 §13.1.5); true without that field.
pub(crate) fn allows_range(request: &HeaderMap, stored: &HeaderMap, now: i64) -> bool {
    let mut lines = request.get_all(header::IF_RANGE).iter();
    let condition = match (lines.next(), lines.next()) {
        (None, _) => return true,
        (Some(condition), None) => condition.as_bytes().trim_ascii(),
        (Some(_), Some(_)) => return false,
    };
    if condition.starts_with(b"\"") {
        // Strong comparison: a weak tag begins with `W/` and is never equal.
        return stored
            .get(header::ETAG)
            .is_some_and(|tag| tag.as_bytes() == condition);
    }
    let seconds = |name| {
        let value = stored.get(name)?;
        date::parse(value.as_bytes(), now)
    };
    let (Some(modified), Some(date)) = (seconds(header::LAST_MODIFIED), seconds(header::DATE))
    else {
        return false;
    };
    // RFC 9110 §8.8.2.2: a Last-Modified that is earlier than Date is a strong validator
    date::parse(condition, now) == Some(modified) && date > modified
}

/// The members of a list of entity tags. A comma within quotation marks is part of a tag; there are no escapes.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    list.split(move |byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    })
    .map(<[u8]>::trim_ascii)
    .filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_795_305_600;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            headers.append(*name, value);
        }
        headers
    }

    fn not_modified(request: &[(&'static str, &str)], stored: &[(&'static str, &str)]) -> bool {
        is_not_modified(&headers(request), &headers(stored), NOW)
    }

    #[test]
    fn tags_are_compared_weakly_as_bytes() {
        for (asked, stored, same) in [
            ("\"a\"", "\"a\"", true),
            ("W/\"a\"", "\"a\"", true),
            ("\"a\"", "W/\"a\"", true),
            ("\"b\"", "\"a\"", false),
            ("\"b\", \"a\"", "\"a\"", true),
            ("\"b\" ,W/\"a\",\"c\"", "\"a\"", true),
            ("\"x,y\"", "\"x,y\"", true),
            ("\"x,y\"", "\"y\"", false),
            ("a", "\"a\"", false),
            ("a", "a", true),
            ("w/\"a\"", "\"a\"", false),
            ("w/\"a\"", "w/\"a\"", true),
            ("W\\\"a\"", "W\\\"a\"", true),
            ("\"é\"", "\"é\"", true),
            ("*", "\"a\"", true),
            ("", "\"a\"", false),
        ] {
            let asked = [("if-none-match", asked)];
            assert_eq!(
                not_modified(&asked, &[("etag", stored)]),
                same,
                "{asked:?} {stored}"
            );
        }
        assert!(not_modified(&[("if-none-match", "*")], &[]));
        assert!(!not_modified(&[("if-none-match", "\"a\"")], &[]));
        let lines = [("if-none-match", "\"b\""), ("if-none-match", "\"a\"")];
        assert!(not_modified(&lines, &[("etag", "\"a\"")]));
    }

    #[test]
    fn a_tag_counts_and_then_no_date() {
        let date = date::format(NOW);
        let stored = [("etag", "\"a\""), ("last-modified", &*date)];
        let asked = [("if-none-match", "\"b\""), ("if-modified-since", &*date)];
        assert!(!not_modified(&asked, &stored));
    }

    #[test]
    fn dates_are_compared_as_dates() {
        let at = |offset: i64| date::format(NOW + offset);
        let old = "Sunday, 22-Nov-26 00:00:00 GMT";
        for (since, stored, same) in [
            (at(0), ("last-modified", at(0)), true),
            (at(1), ("last-modified", at(0)), true),
            (at(-1), ("last-modified", at(0)), false),
            (old.to_owned(), ("last-modified", at(0)), true),
            (at(0), ("date", at(0)), true),
            (at(-1), ("date", at(0)), false),
            ("yesterday".to_owned(), ("last-modified", at(0)), false),
            (at(0), ("last-modified", "then".to_owned()), false),
        ] {
            let asked = [("if-modified-since", &*since)];
            let stored = [(stored.0, &*stored.1)];
            assert_eq!(not_modified(&asked, &stored), same, "{since} {stored:?}");
        }
        assert!(!not_modified(&[], &[("last-modified", &at(0))]));
    }

    #[test]
    fn a_range_is_of_what_the_client_has() {
        let at = |offset: i64| date::format(NOW + offset);
        let (modified, date) = (at(-10), at(0));
        let strong = [
            ("etag", "\"a\""),
            ("last-modified", &*modified),
            ("date", &*date),
        ];
        let weak = [
            ("etag", "W/\"a\""),
            ("last-modified", &*date),
            ("date", &*date),
        ];
        for (condition, stored, allowed) in [
            ("\"a\"", &strong, true),
            ("\"b\"", &strong, false),
            ("W/\"a\"", &strong, false),
            ("\"a\"", &weak, false),
            ("W/\"a\"", &weak, false),
            (&*modified, &strong, true),
            (&*at(-9), &strong, false),
            // Changed in the same second, perhaps after it was sent.
            (&*date, &weak, false),
            ("nonsense", &strong, false),
            ("", &strong, false),
        ] {
            assert_eq!(
                allows_range(&headers(&[("if-range", condition)]), &headers(stored), NOW),
                allowed,
                "{condition} {stored:?}"
            );
        }
        assert!(allows_range(&headers(&[]), &headers(&[]), NOW));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[a-zW/\", *0-9:-]{0,40}") {
            let request = headers(&[("if-none-match", &text), ("if-range", &text)]);
            let stored = headers(&[("etag", &text), ("last-modified", &text)]);
            let _ = is_not_modified(&request, &stored, NOW);
            let _ = allows_range(&request, &stored, NOW);
        }
    }
}
