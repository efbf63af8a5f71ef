//! `Vary`: the request fields that select a stored answer (RFC 9111 §4.1).

use std::cmp::Reverse;

use http::{HeaderMap, HeaderName, header};

use super::cache_control::next_member;
use crate::store::{Digest, KeyBuilder};

/// The request fields that an answer depends on, sorted, each once; `None` if it matches no other request (`*`).
pub(crate) fn names(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for line in headers.get_all(header::VARY) {
        for member in line.as_bytes().split(|byte| *byte == b',') {
            match member.trim_ascii() {
                b"" => {}
                // `*` and invalid names match no request.
                name => names.push(field(name)?),
            }
        }
    }
    if depends_on_origin(headers) {
        names.push(header::ORIGIN);
    }
    Some(sorted(names))
}

/// The names in the order of stored lists, each once.
pub(crate) fn sorted(mut names: Vec<HeaderName>) -> Vec<HeaderName> {
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names
}

/// The digest of the variant for a request with these fields.
pub(crate) fn variant(
    resource: &Digest,
    generation: &[u8; 16],
    names: &[HeaderName],
    request: &HeaderMap,
) -> Digest {
    let mut key = KeyBuilder::new("variant");
    key.part(resource.as_bytes()).part(generation);
    for name in names {
        key.part(name.as_str().as_bytes())
            .optional(value(request, name).as_deref());
    }
    key.finish()
}

/// All lines of a field joined; `None` if the request does not have it, which differs from an empty value.
///
/// RFC 9111 §4.1: lines of any field may be joined. Other normalization needs a field of known syntax.
pub(crate) fn value(request: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = request.get_all(name).iter().map(AsRef::as_ref).collect();
    if lines.is_empty() {
        return None;
    }
    let all = lines.join(&b", "[..]);
    if !LISTS.contains(&name.as_str()) {
        return Some(all);
    }
    let languages = (name == header::ACCEPT_LANGUAGE).then(|| languages(&all));
    Some(languages.flatten().unwrap_or_else(|| without_blanks(&all)))
}

/// Language ranges sorted by weight, then by name: among equal weights order has no meaning, and case never has (RFC 9110
/// §12.5.4). `None` if a weight is invalid.
fn languages(list: &[u8]) -> Option<Vec<u8>> {
    let mut ranges = Vec::new();
    for member in list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        let mut parts = member.splitn(2, |byte| *byte == b';');
        let range = parts.next()?.trim_ascii().to_ascii_lowercase();
        let weight = parts.next().map_or(Some(MOST_WEIGHT), weight)?;
        if !range.is_empty() {
            ranges.push((Reverse(weight), range));
        }
    }
    ranges.sort_unstable();
    let mut normal = Vec::with_capacity(list.len());
    for (Reverse(weight), range) in ranges {
        normal.extend_from_slice(&range);
        normal.extend_from_slice(format!(";{weight},").as_bytes());
    }
    Some(normal)
}

/// `q=` and a number from 0 to 1 with at most three decimals (RFC 9110 §12.4.2), in thousandths.
fn weight(parameter: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(parameter.trim_ascii()).ok()?;
    let number = text.strip_prefix(['q', 'Q'])?.strip_prefix('=')?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let is_number = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" if is_number => Some(thousandths),
        "1" if is_number && thousandths == 0 => Some(MOST_WEIGHT),
        _ => None,
    }
}

const MOST_WEIGHT: u16 = 1000;

/// A list with one space after each comma outside quotation marks, and no other space around its members.
fn without_blanks(list: &[u8]) -> Vec<u8> {
    let mut normal = Vec::with_capacity(list.len());
    let mut rest = list;
    loop {
        let (member, _, after) = next_member(rest);
        normal.extend_from_slice(member);
        if after.is_empty() {
            return normal;
        }
        normal.extend_from_slice(b", ");
        rest = after;
    }
}

/// Request fields that are lists, so that spaces around commas outside quoted strings have no meaning (RFC 9110 §5.6.1, RFC
/// 9651 §3.1).
const LISTS: [&str; 19] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "expect",
    "forwarded",
    "pragma",
    "prefer",
    "sec-ch-ua",
    "sec-ch-ua-full-version-list",
    "te",
    "trailer",
    "upgrade",
    "via",
];

fn field(name: &[u8]) -> Option<HeaderName> {
    // The parser accepts `*` as a field name.
    HeaderName::from_bytes(name).ok().filter(|name| name != "*")
}

/// An answer that allows one origin depends on `Origin`, even without `Vary`.
fn depends_on_origin(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCESS_CONTROL_ALLOW_ORIGIN)
        .is_some_and(|origin| origin != "*")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::store::key::resource;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value.as_bytes()).expect("a field value"),
            );
        }
        headers
    }

    #[test]
    fn a_star_anywhere_fits_nothing() {
        for lines in [
            &[("vary", "*")][..],
            &[("vary", "*, *")],
            &[("vary", "Foo, *")],
            &[("vary", ", *")],
            &[("vary", "*, Foo")],
            &[("vary", ""), ("vary", "*")],
            &[("vary", "Foo"), ("vary", "Bar,*")],
            &[("vary", "no name")],
        ] {
            assert_eq!(names(&headers(lines)), None, "{lines:?}");
        }
    }

    #[test]
    fn order_case_and_repetition_make_no_difference() {
        let one = names(&headers(&[("vary", "Foo, bar")])).expect("names");
        assert_eq!(one, ["bar", "foo"]);
        assert_eq!(
            names(&headers(&[("vary", "BAR"), ("vary", ",foo,,bar")])),
            Some(one)
        );
        assert_eq!(names(&headers(&[("vary", "")])), Some(vec![]));
        assert_eq!(names(&headers(&[])), Some(vec![]));
    }

    #[test]
    fn an_answer_for_one_origin_depends_on_it() {
        let named = headers(&[("access-control-allow-origin", "https://a.example")]);
        assert_eq!(names(&named), Some(vec![header::ORIGIN]));
        let any = headers(&[("access-control-allow-origin", "*")]);
        assert_eq!(names(&any), Some(vec![]));
    }

    fn chosen(vary: &str, request: &[(&'static str, &str)]) -> Digest {
        let names = names(&headers(&[("vary", vary)])).expect("names");
        variant(
            &resource("h", "/", None),
            &[7; 16],
            &names,
            &headers(request),
        )
    }

    #[test]
    fn equal_in_meaning_is_equal() {
        for (vary, a, b) in [
            ("foo", &[("foo", "1")][..], &[("foo", "1")][..]),
            ("accept", &[("accept", "1, 2")], &[("accept", " 1 ,\t2")]),
            (
                "accept",
                &[("accept", "1"), ("accept", "2")],
                &[("accept", "1,2")],
            ),
            (
                "te",
                &[("te", "a;b=\"c,  d\",e")],
                &[("te", "a;b=\"c,  d\" , e")],
            ),
            ("foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")]),
            ("foo", &[("bar", "1")], &[("bar", "2")]),
            (
                "accept-language",
                &[("accept-language", "en, de")],
                &[("accept-language", "eN ,De")],
            ),
            (
                "accept-language",
                &[("accept-language", "en, de;q=1.0, fr;q=0.5, it;Q=0")],
                &[
                    ("accept-language", "fr; q=0.50,,IT;q=0.000"),
                    ("accept-language", "DE , en"),
                ],
            ),
        ] {
            assert_eq!(chosen(vary, a), chosen(vary, b), "{vary}: {a:?} {b:?}");
        }
    }

    #[test]
    fn different_in_meaning_is_different() {
        for (vary, a, b) in [
            ("foo", &[("foo", "1")][..], &[("foo", "2")][..]),
            ("foo", &[("foo", "")], &[]),
            ("foo", &[("foo", "a")], &[("foo", "A")]),
            ("foo", &[("foo", "1, 2")], &[("foo", "2, 1")]),
            // What a field means that is not known, its blanks may be part of.
            ("foo", &[("foo", "1, 2")], &[("foo", "1,2")]),
            ("foo", &[("foo", "1, 2")], &[("foo", "1 , 2")]),
            ("foo", &[("foo", "a;b")], &[("foo", "a; b")]),
            ("foo", &[("foo", "a")], &[("foo", " a")]),
            (
                "user-agent",
                &[("user-agent", "a (b,c)")],
                &[("user-agent", "a (b, c)")],
            ),
            ("cookie", &[("cookie", "a=1,2")], &[("cookie", "a=1, 2")]),
            (
                "accept",
                &[("accept", "\"a,  b\"")],
                &[("accept", "\"a, b\"")],
            ),
            ("foo, bar", &[("foo", "1")], &[("bar", "1")]),
            (
                "accept-language",
                &[("accept-language", "en;q=0.8, de;q=0.9")],
                &[("accept-language", "en;q=0.9, de;q=0.8")],
            ),
            // Weights that are none.
            (
                "accept-language",
                &[("accept-language", "en;q=2, de")],
                &[("accept-language", "de, en;q=2")],
            ),
            (
                "accept-language",
                &[("accept-language", "en;level=1, de")],
                &[("accept-language", "de, en;level=1")],
            ),
        ] {
            assert_ne!(chosen(vary, a), chosen(vary, b), "{vary}: {a:?} {b:?}");
        }
        let names = [header::ACCEPT];
        let of = |generation| {
            variant(
                &resource("h", "/", None),
                &[generation; 16],
                &names,
                &HeaderMap::new(),
            )
        };
        assert_ne!(of(1), of(2));
    }

    proptest! {
        #[test]
        fn normal_forms_stay_as_they_are(text in "[a ,\"\\\\]{0,20}") {
            let once = without_blanks(text.as_bytes());
            prop_assert_eq!(&without_blanks(&once), &once);
        }
    }
}
