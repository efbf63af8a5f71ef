//! Validation: asks the handler whether a stored answer is still current (RFC 9111 §4.3), and reads its reply.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::condition;
use crate::cache::rfc::{date, stored_fields};

/// How the handler was asked while an answer was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// With the validators of the stored answer.
    Conditional,
    /// With the client's `HEAD`, while the stored body has `length` bytes.
    Head { length: usize },
    /// With the client's request, unchanged.
    Plain,
}

/// What the handler's answer means for the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValidationOutcome {
    /// The stored answer is current: its fields are updated.
    Confirmed,
    /// It may be current, but the 304 must not update it: the handler is asked again without conditions.
    WeaklyConfirmed,
    /// The 304 is about another answer: the handler is asked again without conditions.
    Contradicted,
    /// An answer to `HEAD` agrees with the stored one.
    HeadConfirmed,
    /// An answer to `HEAD` differs from the stored one.
    HeadContradicted,
    /// The handler failed, and the stored answer may be used in its place.
    Failed,
    /// The answer replaces the stored one.
    New,
}

/// Compares an answer with the stored one (RFC 9111 §4.3.3 and §4.3.5).
pub(crate) fn outcome(
    question: Question,
    stored: &HeaderMap,
    status: StatusCode,
    answer: &HeaderMap,
    stands_in: impl FnOnce() -> bool,
) -> ValidationOutcome {
    match (question, status) {
        (Question::Conditional, StatusCode::NOT_MODIFIED) => compare(stored, answer),
        (Question::Head { length }, StatusCode::OK) if head_confirms(stored, length, answer) => {
            ValidationOutcome::HeadConfirmed
        }
        (Question::Head { .. }, StatusCode::OK) => ValidationOutcome::HeadContradicted,
        _ if is_failure(status) && stands_in() => ValidationOutcome::Failed,
        _ => ValidationOutcome::New,
    }
}

/// Makes a request conditional on the validators of the stored answer (RFC 9111 §4.3.1); false if it has none.
///
/// The client's own conditions and ranges are removed: they are evaluated against the stored answer afterwards.
pub(crate) fn ask(request: &mut HeaderMap, stored: &HeaderMap) -> bool {
    let validators = [
        (header::IF_NONE_MATCH, stored.get(header::ETAG)),
        (header::IF_MODIFIED_SINCE, stored.get(header::LAST_MODIFIED)),
    ];
    if validators.iter().all(|(_, value)| value.is_none()) {
        return false;
    }
    for name in [header::RANGE, header::IF_RANGE] {
        request.remove(name);
    }
    for (name, value) in validators {
        match value {
            Some(value) => request.insert(name, value.clone()),
            None => request.remove(name),
        };
    }
    true
}

/// Whether a 304 with these fields is about the stored answer (RFC 9111 §4.3.4). One without validators confirms the
/// validators that were sent.
fn compare(stored: &HeaderMap, answer: &HeaderMap) -> ValidationOutcome {
    // These fields have one value: with two lines the 304 is not used.
    let is_clear = |name| answer.get_all(name).iter().count() < 2;
    if !is_clear(header::ETAG) || !is_clear(header::LAST_MODIFIED) {
        return ValidationOutcome::Contradicted;
    }
    let changed = answer.get(header::LAST_MODIFIED);
    let is_same_date = is_same_date(stored.get(header::LAST_MODIFIED), changed);
    let ours = stored.get(header::ETAG).map(HeaderValue::as_bytes);
    let Some(theirs) = answer.get(header::ETAG).map(HeaderValue::as_bytes) else {
        return match changed {
            Some(_) if !is_same_date => ValidationOutcome::Contradicted,
            _ => ValidationOutcome::Confirmed,
        };
    };
    // A tag takes precedence over a date (RFC 9110 §13.2.2).
    let matches = match ours {
        Some(ours) if ours == theirs => return ValidationOutcome::Confirmed,
        Some(ours) => condition::weakly_equal(ours, theirs),
        None => is_same_date,
    };
    match matches {
        // A strong tag must not be stored with bytes that it was not sent with: content coding may have changed them.
        true if theirs.starts_with(b"W/") => ValidationOutcome::Confirmed,
        true => ValidationOutcome::WeaklyConfirmed,
        false => ValidationOutcome::Contradicted,
    }
}

/// Whether both are the same date, in any of the three formats, or the same text.
fn is_same_date(ours: Option<&HeaderValue>, theirs: Option<&HeaderValue>) -> bool {
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return false;
    };
    // `now` matters for two-digit years only; it puts both into the same century.
    let parse = |value: &HeaderValue| date::parse(value.as_bytes(), 0);
    ours == theirs || parse(ours).is_some_and(|ours| Some(ours) == parse(theirs))
}

/// Whether an answer to `HEAD` confirms the stored answer to `GET` (RFC 9111 §4.3.5): the validators and the length that it
/// has are the same.
fn head_confirms(stored: &HeaderMap, length: usize, answer: &HeaderMap) -> bool {
    let same = |name: HeaderName| match answer.get(&name) {
        Some(value) => stored.get(name) == Some(value),
        None => true,
    };
    let length_is_same = answer
        .get(header::CONTENT_LENGTH)
        .is_none_or(|stated| stated.as_bytes() == length.to_string().as_bytes());
    same(header::ETAG) && same(header::LAST_MODIFIED) && length_is_same
}

/// The stored fields, updated with those of a 304 or of an answer to `HEAD` (RFC 9111 §3.2): each of its fields replaces all
/// stored lines of that name.
///
/// `received`, in seconds of Unix time, is the date of an answer that has none.
pub(crate) fn freshened(stored: &HeaderMap, answer: &HeaderMap, received: i64) -> HeaderMap {
    let news = stored_fields::forwarded(answer);
    let stays = |name: &HeaderName| BOUND_TO_BODY.contains(name) || !news.contains_key(name);
    let mut all: HeaderMap = HeaderMap::with_capacity(stored.len() + news.len());
    for (name, value) in stored {
        // The old date would raise the age of the freshened answer.
        let outdated = name == header::DATE;
        if stays(name) && !outdated {
            all.append(name, value.clone());
        }
    }
    for (name, value) in &news {
        if !BOUND_TO_BODY.contains(name) {
            all.append(name, value.clone());
        }
    }
    if !all.contains_key(header::DATE) {
        if let Ok(date) = HeaderValue::try_from(date::format(received)) {
            all.insert(header::DATE, date);
        }
    }
    all
}

/// Whether a status is an error for which `stale-if-error` applies (RFC 5861 §4).
pub(crate) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// RFC 9111 §3.2: these fields describe the stored bytes, and are not updated.
const BOUND_TO_BODY: [HeaderName; 3] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_stored_validators_replace_the_clients_conditions() {
        let client = [
            ("if-none-match", "\"theirs\""),
            ("if-modified-since", "then"),
            ("range", "bytes=0-1"),
            ("if-range", "\"theirs\""),
            ("accept", "x"),
        ];
        for (stored, asked) in [
            (
                &[("etag", "W/\"ours\"")][..],
                &[("if-none-match", "W/\"ours\""), ("accept", "x")][..],
            ),
            (
                &[("last-modified", "now")],
                &[("if-modified-since", "now"), ("accept", "x")],
            ),
            (
                &[("etag", "\"a\""), ("last-modified", "b")],
                &[
                    ("if-none-match", "\"a\""),
                    ("if-modified-since", "b"),
                    ("accept", "x"),
                ],
            ),
        ] {
            let mut request = headers(&client);
            assert!(ask(&mut request, &headers(stored)));
            assert_eq!(request, headers(asked), "{stored:?}");
        }
        let mut request = headers(&client);
        assert!(!ask(&mut request, &headers(&[("date", "x")])));
        assert_eq!(request, headers(&client));
    }

    /// A strong tag once took the place of a weak one, and a date that is another one confirmed.
    #[test]
    fn what_a_304_says_of_each_combination_of_validators() {
        use ValidationOutcome::{Confirmed, Contradicted, WeaklyConfirmed};
        const THEN: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
        const SAME: (&str, &str) = ("last-modified", "Sunday, 06-Nov-94 08:49:37 GMT");
        const LATER: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:38 GMT");
        const STRONG: (&str, &str) = ("etag", "\"x\"");
        const WEAK: (&str, &str) = ("etag", "W/\"x\"");
        const OTHER: (&str, &str) = ("etag", "\"y\"");
        const WEAK_OTHER: (&str, &str) = ("etag", "W/\"y\"");
        let stored = [
            &[STRONG][..],
            &[WEAK],
            &[THEN],
            &[STRONG, THEN],
            &[WEAK, THEN],
        ];
        #[rustfmt::skip]
        let table = [
            // The 304, and what it means for each of these.
            (&[][..], [Confirmed, Confirmed, Confirmed, Confirmed, Confirmed]),
            (&[STRONG], [Confirmed, WeaklyConfirmed, Contradicted, Confirmed, WeaklyConfirmed]),
            (&[WEAK], [Confirmed, Confirmed, Contradicted, Confirmed, Confirmed]),
            (&[OTHER], [Contradicted; 5]),
            (&[WEAK_OTHER], [Contradicted; 5]),
            (&[THEN], [Contradicted, Contradicted, Confirmed, Confirmed, Confirmed]),
            (&[SAME], [Contradicted, Contradicted, Confirmed, Confirmed, Confirmed]),
            (&[LATER], [Contradicted; 5]),
            (&[STRONG, THEN], [Confirmed, WeaklyConfirmed, WeaklyConfirmed, Confirmed, WeaklyConfirmed]),
            (&[WEAK, THEN], [Confirmed; 5]),
            (&[STRONG, LATER], [Confirmed, WeaklyConfirmed, Contradicted, Confirmed, WeaklyConfirmed]),
            (&[WEAK, LATER], [Confirmed, Confirmed, Contradicted, Confirmed, Confirmed]),
            (&[OTHER, THEN], [Contradicted, Contradicted, WeaklyConfirmed, Contradicted, Contradicted]),
            (&[WEAK_OTHER, THEN], [Contradicted, Contradicted, Confirmed, Contradicted, Contradicted]),
            (&[OTHER, LATER], [Contradicted; 5]),
            (&[STRONG, OTHER], [Contradicted; 5]),
            (&[THEN, LATER], [Contradicted; 5]),
        ];
        for (answer, expected) in table {
            for (stored, expected) in stored.iter().zip(expected) {
                let (ours, theirs) = (headers(stored), headers(answer));
                assert_eq!(compare(&ours, &theirs), expected, "{stored:?} {answer:?}");
                if expected == Confirmed {
                    let kept = freshened(&ours, &theirs, 0);
                    let is_strong =
                        |all: &HeaderMap| all.get("etag").is_some_and(|tag| tag == "\"x\"");
                    assert!(
                        is_strong(&ours) || !is_strong(&kept),
                        "{stored:?} {answer:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_answer_to_head_confirms_what_it_agrees_with() {
        let stored = headers(&[("etag", "\"a\""), ("last-modified", "then")]);
        for (answer, confirmed) in [
            (&[][..], true),
            (&[("etag", "\"a\""), ("content-length", "7")], true),
            (&[("etag", "\"b\"")], false),
            (&[("last-modified", "now")], false),
            (&[("content-length", "8")], false),
        ] {
            assert_eq!(
                head_confirms(&stored, 7, &headers(answer)),
                confirmed,
                "{answer:?}"
            );
        }
    }

    #[test]
    fn what_an_answer_means() {
        use Question::{Conditional, Head, Plain};
        let stored = headers(&[("etag", "\"a\"")]);
        let other = headers(&[("etag", "\"b\"")]);
        for (question, status, answer, after_it) in [
            (Conditional, 304, &stored, ValidationOutcome::Confirmed),
            (Conditional, 304, &other, ValidationOutcome::Contradicted),
            (Conditional, 200, &other, ValidationOutcome::New),
            (Conditional, 503, &other, ValidationOutcome::Failed),
            (Conditional, 501, &other, ValidationOutcome::New),
            (
                Head { length: 7 },
                200,
                &stored,
                ValidationOutcome::HeadConfirmed,
            ),
            (
                Head { length: 7 },
                200,
                &other,
                ValidationOutcome::HeadContradicted,
            ),
            (Head { length: 7 }, 404, &other, ValidationOutcome::New),
            (Head { length: 7 }, 500, &other, ValidationOutcome::Failed),
            // The client's own condition.
            (Plain, 304, &stored, ValidationOutcome::New),
            (Plain, 504, &other, ValidationOutcome::Failed),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(
                outcome(question, &stored, status, answer, || true),
                after_it,
                "{question:?} {status}"
            );
            let alone = outcome(question, &stored, status, answer, || false);
            assert_ne!(alone, ValidationOutcome::Failed);
        }
    }

    #[test]
    fn fields_are_replaced_added_and_kept() {
        let stored = headers(&[
            ("link", "1"),
            ("link", "2"),
            ("a", "stored"),
            ("content-length", "7"),
            ("content-encoding", "gzip"),
            ("date", "then"),
        ]);
        let answer = headers(&[
            ("link", "3"),
            ("new", "x"),
            ("new", "y"),
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("content-type", "text/plain"),
            ("connection", "b"),
            ("b", "hop"),
        ]);
        let mut expected = headers(&[
            ("a", "stored"),
            ("content-length", "7"),
            ("content-encoding", "gzip"),
            ("link", "3"),
            ("new", "x"),
            ("new", "y"),
            ("content-type", "text/plain"),
        ]);
        expected.insert(
            "date",
            HeaderValue::from_static("Thu, 01 Jan 1970 00:00:07 GMT"),
        );
        assert_eq!(freshened(&stored, &answer, 7), expected);
    }
}
