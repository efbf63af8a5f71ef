//! Field values of clients and handlers: no value causes a panic, and the results are within their bounds.
//!
//! The input is two messages, separated by an empty line. Each line of a message is a field: one byte for its name, then its
//! value.

#![no_main]

mod cache;
#[path = "../../src/personal.rs"]
#[allow(dead_code)]
mod personal;
mod store;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use libfuzzer_sys::fuzz_target;

use cache::{
    conditional::{
        condition,
        range::{self, Wanted},
        validation,
    },
    rfc::{
        cache_control::{CacheControl, MAX_SECONDS},
        date,
        freshness::{self, Times},
        groups, stored_fields,
        targeted::Stated,
        vary,
    },
    rules::{
        key::{Target, key},
        vary_by::VaryBy,
    },
};

const NAMES: [&str; 22] = [
    "accept-language",
    "age",
    "cache-control",
    "cache-groups",
    "cdn-cache-control",
    "connection",
    "content-length",
    "cookie",
    "date",
    "etag",
    "expires",
    "forwarded",
    "host",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "last-modified",
    "location",
    "range",
    "vary",
    "x-field",
    "x-forwarded-host",
];

fn message(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some((name, value)) = line.split_first() else {
            continue;
        };
        let name = NAMES[usize::from(*name) % NAMES.len()];
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    headers
}

fuzz_target!(|bytes: &[u8]| {
    let at = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (first, second) = bytes.split_at(at.unwrap_or(bytes.len()));
    let (request, answer) = (message(first), message(second));
    let now_ms = u64::from(bytes.len() as u32) * 86_400_000;
    check_lifetimes(&answer, now_ms);
    check_requests(&request, &answer, now_ms / 1000);
    check_keys(&request, &answer);
    let stored = stored_fields::stored(&answer, &[], 0);
    assert!(!stored.contains_key("connection") && !stored.contains_key("age"));
    let _ = validation::freshened(&stored, &answer, 0);
});

fn check_lifetimes(answer: &HeaderMap, now_ms: u64) {
    let targets = [HeaderName::from_static("cdn-cache-control")];
    for targets in [&targets[..], &[]] {
        let stated = Stated::of(answer, targets);
        for seconds in [stated.directives.max_age, stated.directives.s_maxage] {
            assert!(seconds.is_none_or(|seconds| seconds <= MAX_SECONDS));
        }
        let times = Times {
            sent_ms: now_ms / 2,
            received_ms: now_ms,
        };
        let _ = freshness::explicit_lifetime(answer, &stated, times);
        let _ = freshness::heuristic_lifetime(answer, times);
        assert!(freshness::initial_age_ms(answer, times) >= now_ms - now_ms / 2);
    }
    for value in answer.values() {
        if let Some(seconds) = date::parse(value.as_bytes(), 0) {
            // Years before 1970 and after 9999 are not formatted.
            let again = date::parse(date::format(seconds).as_bytes(), 0);
            assert!(seconds < 0 || again == Some(seconds) || seconds > 253_402_300_799);
        }
    }
}

fn check_requests(request: &HeaderMap, answer: &HeaderMap, now: u64) {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let _ = CacheControl::parse(request);
    let _ = condition::is_not_modified(request, answer, now);
    let _ = condition::allows_range(request, answer, now);
    let _ = validation::ask(&mut request.clone(), answer);
    for length in [0, 1, 10, 1 << 20] {
        if let Wanted::Parts(parts) = range::wanted(request, length) {
            assert!(!parts.is_empty());
            for part in &parts {
                assert!(part.start < part.end && part.end <= length);
            }
        }
    }
}

fn check_keys(request: &HeaderMap, answer: &HeaderMap) {
    let _ = vary::names(answer);
    let Some(location) = answer.get("location") else {
        return;
    };
    let Ok(uri) = Uri::try_from(location.as_bytes()) else {
        return;
    };
    let Ok(mut asked) = Request::get(uri).body(()) else {
        return;
    };
    *asked.headers_mut() = request.clone();
    let (parts, ()) = asked.into_parts();
    let vary_by = VaryBy {
        query: Some(vec!["a".to_owned(), "b c".to_owned()]),
        cookies: vec!["theme".to_owned()],
        headers: vec![HeaderName::from_static("accept-language")],
        ..VaryBy::default()
    };
    if let Some((found, target)) = key(&parts, None, &vary_by) {
        let again = key(&parts, None, &vary_by).map(|(key, _)| key);
        assert_eq!(Some(found), again);
        let _ = groups::members(&target.origin(), answer);
        for value in answer.values() {
            let _ = target.refer(value.as_bytes());
        }
    }
    for target in Target::all(&parts) {
        let _ = target.group(&vary_by);
    }
}
