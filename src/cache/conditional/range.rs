//! Range requests for a stored answer (RFC 9110 §14).

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};

/// Which parts of a body a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The whole body: there is no `Range`, or one that is invalid, unknown or too expensive.
    Whole,
    /// These parts, in the order of the request; none is empty.
    Parts(Vec<Range<usize>>),
    /// No part that the body has: 416.
    Nothing,
}

/// The parts that a request asks for of a body of `length` bytes.
pub(crate) fn wanted(request: &HeaderMap, length: usize) -> Wanted {
    let mut lines = request.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Wanted::Whole;
    };
    // RFC 9110 §14.2: an unknown unit and an invalid field are ignored
    let Some(specs) = std::str::from_utf8(line.as_bytes()).ok().and_then(specs) else {
        return Wanted::Whole;
    };
    let parts: Vec<_> = specs
        .iter()
        .filter_map(|spec| spec.within(length))
        .collect();
    if parts.is_empty() {
        // RFC 9110 §14.1.2: a suffix range of an empty body is satisfiable
        let is_suffix = |spec: &Spec| matches!(spec, Spec::Last(count) if *count > 0);
        return match length {
            0 if specs.iter().any(is_suffix) => Wanted::Whole,
            _ => Wanted::Nothing,
        };
    }
    // RFC 9110 §14.2: many small or overlapping parts cost more than the whole
    let sum: usize = parts.iter().map(Range::len).fold(0, usize::saturating_add);
    if parts.len() > MOST_PARTS || (parts.len() > 1 && sum > length) {
        return Wanted::Whole;
    }
    Wanted::Parts(parts)
}

/// `first-last`, `first-` or `-suffix`. A number that does not fit counts as `usize::MAX`.
#[derive(Clone, Copy, Debug)]
enum Spec {
    From(usize, Option<usize>),
    Last(usize),
}

impl Spec {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        match (first, last) {
            ("", last) => Some(Self::Last(number(last)?)),
            (first, "") => Some(Self::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From(first, Some(last)))
            }
        }
    }

    /// The part of a body of `length` bytes, if there is one.
    fn within(self, length: usize) -> Option<Range<usize>> {
        let part = match self {
            Self::Last(count) => length.saturating_sub(count)..length,
            Self::From(first, last) => {
                first..last.map_or(length, |last| last.saturating_add(1).min(length))
            }
        };
        (!part.is_empty()).then_some(part)
    }
}

fn specs(line: &str) -> Option<Vec<Spec>> {
    let (unit, list) = line.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let specs: Vec<Spec> = list
        .split(',')
        .map(|spec| spec.trim_matches([' ', '\t']))
        .filter(|spec| !spec.is_empty())
        .map(Spec::parse)
        .collect::<Option<_>>()?;
    (!specs.is_empty()).then_some(specs)
}

fn number(text: &str) -> Option<usize> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(usize::MAX))
}

/// `Content-Range` for a part of a body of `length` bytes (RFC 9110 §14.4).
pub(crate) fn content_range(part: &Range<usize>, length: usize) -> String {
    format!(
        "bytes {}-{}/{length}",
        part.start,
        part.end.saturating_sub(1)
    )
}

/// The `Content-Range` of a 416 (RFC 9110 §15.5.17).
pub(crate) fn unsatisfied(length: usize) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("bytes */{length}")).ok()
}

/// Several parts in one body (RFC 9110 §14.6), each with `kind` as its `Content-Type` if there is one.
pub(crate) fn multipart(
    body: &Bytes,
    parts: &[Range<usize>],
    kind: Option<&HeaderValue>,
    boundary: &str,
) -> Bytes {
    let mut all = BytesMut::new();
    for part in parts {
        all.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
        if let Some(kind) = kind {
            all.extend_from_slice(b"Content-Type: ");
            all.extend_from_slice(kind.as_bytes());
            all.extend_from_slice(b"\r\n");
        }
        let range = content_range(part, body.len());
        all.extend_from_slice(format!("Content-Range: {range}\r\n\r\n").as_bytes());
        all.extend_from_slice(body.get(part.clone()).unwrap_or_default());
    }
    all.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    all.freeze()
}

const MOST_PARTS: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(range: &str, length: usize) -> Wanted {
        let mut request = HeaderMap::new();
        let value = HeaderValue::from_bytes(range.as_bytes()).expect("a value");
        request.insert(header::RANGE, value);
        wanted(&request, length)
    }

    fn parts(range: &str) -> Vec<(usize, usize)> {
        match of(range, 10) {
            Wanted::Parts(parts) => parts.iter().map(|part| (part.start, part.end)).collect(),
            other => panic!("{range}: {other:?}"),
        }
    }

    #[test]
    fn parts_of_ten_bytes() {
        for (range, expected) in [
            ("bytes=0-1", &[(0, 2)][..]),
            ("bytes=1-", &[(1, 10)]),
            ("bytes=-3", &[(7, 10)]),
            ("bytes=-30", &[(0, 10)]),
            ("bytes=9-9", &[(9, 10)]),
            ("bytes=9-99999999999999999999999", &[(9, 10)]),
            ("Bytes=0-0 , -1", &[(0, 1), (9, 10)]),
            ("bytes=0-0,,20-30,5-6", &[(0, 1), (5, 7)]),
            ("bytes=8-9,0-1", &[(8, 10), (0, 2)]),
        ] {
            assert_eq!(parts(range), expected, "{range}");
        }
    }

    #[test]
    fn what_is_not_there_and_what_is_no_range() {
        for range in [
            "bytes=10-",
            "bytes=10-12,20-",
            "bytes=-0",
            "bytes=99999999999999999999999-",
        ] {
            assert_eq!(of(range, 10), Wanted::Nothing, "{range}");
        }
        assert_eq!(of("bytes=0-", 0), Wanted::Nothing);
        for range in [
            "bytes=",
            "bytes",
            "bytes=a-b",
            "bytes=2-1",
            "bytes=1",
            "bytes=--1",
            "bytes=1-2-3",
            "bytes=+1-2",
            "bytes= 1 - 2",
            "items=0-1",
            "bytes=0-9,0-9",
            "",
        ] {
            assert_eq!(of(range, 10), Wanted::Whole, "{range}");
        }
        let many = format!("bytes={}", vec!["0-0"; 17].join(","));
        assert_eq!(of(&many, 1000), Wanted::Whole);
        let mut twice = HeaderMap::new();
        twice.append(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        twice.append(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        assert_eq!(wanted(&twice, 10), Wanted::Whole);
        assert_eq!(wanted(&HeaderMap::new(), 10), Wanted::Whole);
    }

    #[test]
    fn several_parts_in_one_body() {
        let body = Bytes::from_static(b"0123456789");
        let kind = HeaderValue::from_static("text/plain");
        let text = multipart(&body, &[0..2, 8..10], Some(&kind), "B");
        assert_eq!(
            text,
            "\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
             \r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 8-9/10\r\n\r\n89\
             \r\n--B--\r\n"
        );
    }

    proptest! {
        #[test]
        fn parts_are_within_the_body(range in "(bytes=)?[0-9, -]{0,30}", length in 0usize..50) {
            if let Wanted::Parts(parts) = of(&range, length) {
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= length));
            }
        }
    }
}
