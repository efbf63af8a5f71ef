//! The header fields that tell a client its limits.

use std::{fmt::Write, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};

use super::{decision::Decision, standing::Standing};

/// A set of header fields that tell clients their limits and what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// `RateLimit` and `RateLimit-Policy` as structured fields, one item for each policy:
    /// draft-ietf-httpapi-ratelimit-headers-11, whose parameters may still change. The default.
    Draft11,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` for the most restrictive policy. The reset
    /// is in seconds since 1970, as at GitHub.
    LegacyEpoch,
    /// As [`LegacyEpoch`](Self::LegacyEpoch), but the reset is in seconds from now.
    LegacyDelta,
}

/// Adds the fields of these dialects, and `Retry-After` for a denial. What an inner service said in them stays.
pub(crate) fn append(headers: &mut HeaderMap, decision: &Decision, dialects: &[Dialect]) {
    for dialect in dialects {
        match dialect {
            Dialect::Draft11 => draft_11(headers, decision),
            Dialect::LegacyEpoch => legacy(headers, decision, |standing, reset| {
                standing.time_after(reset).div_ceil(1_000_000)
            }),
            Dialect::LegacyDelta => legacy(headers, decision, |_, reset| seconds(reset)),
        }
    }
    if let (Decision::Deny(denial), Some(wait)) = (decision, decision.retry_after()) {
        // Draft 11 §6: Retry-After must not end before the effective window.
        let windows = denial.violated().filter_map(Standing::effective_window);
        let longest = windows.fold(wait, Duration::max);
        headers.insert(RETRY_AFTER, seconds(longest).into());
    }
}

fn draft_11(headers: &mut HeaderMap, decision: &Decision) {
    let all = || {
        let standings = decision.standings().iter();
        standings.filter(|standing| !standing.is_shadow())
    };
    let Some(first) = all().next() else { return };
    let is_only = all().nth(1).is_none();
    add(headers, &RATELIMIT, all(), |line, standing| {
        line.push_str(&standing.fields().item);
        let remaining = standing.remaining();
        // Writing into a string cannot fail.
        let _ = match standing.effective_window().map(seconds) {
            Some(window) => write!(line, ";r={remaining};t={window}"),
            None => write!(line, ";r={remaining}"),
        };
    });
    match &first.fields().policy_field {
        Some(field) if is_only && !headers.contains_key(RATELIMIT_POLICY) => {
            headers.insert(RATELIMIT_POLICY, field.clone());
        }
        _ => add(headers, &RATELIMIT_POLICY, all(), |line, standing| {
            line.push_str(&standing.fields().policy);
        }),
    }
}

/// Adds the items whose names the field does not have yet. The field is one line after that, as some clients read only
/// the first one; what an inner limit or the handler wrote comes first.
fn add<'a>(
    headers: &mut HeaderMap,
    field: &HeaderName,
    standings: impl Iterator<Item = &'a Standing>,
    item: impl Fn(&mut String, &Standing),
) {
    let mut line = String::with_capacity(64);
    for standing in standings {
        if is_in(headers, field, standing.fields().item.as_bytes()) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(", ");
        }
        item(&mut line, standing);
    }
    let line = match headers.contains_key(field) {
        true => joined(headers, field, &line),
        false => line.into_bytes(),
    };
    if line.is_empty() {
        return;
    }
    // Names are printable ASCII and the rest comes from values, so this cannot fail.
    if let Ok(value) = HeaderValue::try_from(line) {
        headers.insert(field, value);
    }
}

/// All lines of a field, and `more`, as one list.
fn joined(headers: &HeaderMap, field: &HeaderName, more: &str) -> Vec<u8> {
    let lines = headers.get_all(field).iter().map(HeaderValue::as_bytes);
    let lines = lines.chain([more.as_bytes()]).map(<[u8]>::trim_ascii);
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(&b", "[..])
}

fn is_in(headers: &HeaderMap, field: &HeaderName, item: &[u8]) -> bool {
    let mut lines = headers.get_all(field).iter();
    lines.any(|line| line.as_bytes().windows(item.len()).any(|part| part == item))
}

fn legacy(
    headers: &mut HeaderMap,
    decision: &Decision,
    reset: impl Fn(&Standing, Duration) -> u64,
) {
    let standing = decision.standing();
    if standing.is_shadow() {
        return;
    }
    let wait = decision.retry_after();
    let numbers = [
        (X_LIMIT, standing.limit().into()),
        (X_REMAINING, standing.remaining().into()),
        (
            X_RESET,
            reset(standing, wait.unwrap_or(standing.resets_after())),
        ),
    ];
    for (field, number) in numbers {
        headers.entry(field).or_insert_with(|| number.into());
    }
}

/// Whole seconds, at least one, rounded up.
fn seconds(duration: Duration) -> u64 {
    let more = u64::from(duration.subsec_nanos() > 0);
    let seconds = duration.as_secs().saturating_add(more).max(1);
    // RFC 9651 §3.3.1: an integer has up to 15 digits
    seconds.min(999_999_999_999_999)
}

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::{
        decision::standing::{Reading, Request},
        quota::{policies::Policies, policy::Policy, quota::Quota},
    };

    /// The fields after an empty response to a request for `cost` permits that was not admitted.
    fn denied(policy: Policy, level: u64, cost: u64, dialect: Dialect) -> HeaderMap {
        let limits = Policies::from(policy);
        let reading = Reading {
            fits: false,
            level,
            wait: 7_000_000,
            following: 2_000_000,
            reset: 9_000_000,
        };
        let request = Request {
            cost,
            charged: false,
            at: 1_000_000_500_000,
        };
        let standing = Standing::new(&limits.limits()[0], reading, request);
        let decision = Decision::new(false, vec![standing]);
        let mut headers = HeaderMap::new();
        append(&mut headers, &decision, &[dialect]);
        headers
    }

    fn ten() -> Policy {
        Policy::new("x", Quota::per_minute(10))
    }

    #[test]
    fn a_request_that_never_fits_is_not_told_to_retry() {
        let headers = denied(ten(), 0, 11, Dialect::Draft11);
        assert_eq!(headers[RATELIMIT], r#""x";r=10;t=60"#);
        assert!(!headers.contains_key(RETRY_AFTER));
    }

    #[test]
    fn the_retry_is_not_before_the_end_of_the_window() {
        // Half of the ten are used, six are asked for: one more is enough, but the window of the five is longer.
        let headers = denied(ten(), 30_000_000, 6, Dialect::Draft11);
        assert_eq!(headers[RATELIMIT], r#""x";r=5;t=30"#);
        assert_eq!(headers[RETRY_AFTER], "30");
    }

    /// Two limits made two lines, of which many clients read only the first.
    #[test]
    fn each_field_is_one_line() {
        let lines = |before: &[(&'static str, &'static str)], policies: &[&str]| {
            let mut headers = HeaderMap::new();
            for (name, value) in before {
                headers.append(*name, HeaderValue::from_static(value));
            }
            for name in policies {
                let policy = Policy::new(name, Quota::per_minute(10));
                let limits = Policies::from(policy);
                let reading = Reading::of_gcra(true, 6_000_000);
                let request = Request {
                    cost: 1,
                    charged: true,
                    at: 0,
                };
                let standing = Standing::new(&limits.limits()[0], reading, request);
                let decision = Decision::new(true, vec![standing]);
                append(&mut headers, &decision, &[Dialect::Draft11]);
            }
            [RATELIMIT, RATELIMIT_POLICY].map(|field| {
                let lines = headers.get_all(field).iter();
                let lines = lines.map(|line| line.to_str().expect("text").to_owned());
                lines.collect::<Vec<_>>()
            })
        };
        let [left, policies] = lines(&[], &["in", "out"]);
        assert_eq!(left, [r#""in";r=9;t=54, "out";r=9;t=54"#]);
        assert_eq!(policies, [r#""in";q=10;w=60, "out";q=10;w=60"#]);
        // Those of a handler: several lines, an empty one, and an item of the same name.
        let of_handler = [
            ("ratelimit", r#""a";r=1"#),
            ("ratelimit", ""),
            ("ratelimit", r#" "in";r=2"#),
            ("ratelimit-policy", ""),
        ];
        let [left, policies] = lines(&of_handler, &["in", "out"]);
        assert_eq!(left, [r#""a";r=1, "in";r=2, "out";r=9;t=54"#]);
        assert_eq!(policies, [r#""in";q=10;w=60, "out";q=10;w=60"#]);
        let [left, _] = lines(&of_handler, &["in"]);
        assert_eq!(left, [r#""a";r=1, "in";r=2"#]);
    }

    #[test]
    fn a_place_has_no_time() {
        let headers = denied(Policy::concurrency("x", 3), 3, 1, Dialect::Draft11);
        assert_eq!(headers[RATELIMIT], r#""x";r=0"#);
        assert_eq!(
            headers[RATELIMIT_POLICY],
            r#""x";q=3;qu="concurrent-requests""#
        );
        assert!(!headers.contains_key(RETRY_AFTER));
    }

    #[test]
    fn legacy_fields_tell_one_policy() {
        let headers = denied(ten(), 60_000_000, 1, Dialect::LegacyDelta);
        assert_eq!(headers[X_LIMIT], "10");
        assert_eq!(headers[X_REMAINING], "0");
        assert_eq!(headers[X_RESET], "6");
        assert!(!headers.contains_key(RATELIMIT));
        // 1,000,000.5 s and 6 s, rounded up.
        let headers = denied(ten(), 60_000_000, 1, Dialect::LegacyEpoch);
        assert_eq!(headers[X_RESET], "1000007");
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(seconds(Duration::ZERO), 1);
        assert_eq!(seconds(Duration::from_nanos(1)), 1);
        assert_eq!(seconds(Duration::from_secs(2)), 2);
        assert_eq!(seconds(Duration::from_micros(2_000_001)), 3);
        assert_eq!(seconds(Duration::MAX), 999_999_999_999_999);
    }
}
