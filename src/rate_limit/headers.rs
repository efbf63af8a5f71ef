//! The header fields that tell a client about its limit.
//!
//! `RateLimit` and `RateLimit-Policy` as in draft-ietf-httpapi-ratelimit-headers-11, whose parameters may still change.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};

use super::{decision::Decision, quota::Quota};

/// The fields of one policy, as far as they never change.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    /// The name as an RFC 9651 §3.3.3 String.
    item: String,
    policy: HeaderValue,
}

impl Fields {
    pub(super) fn new(name: &str, quota: Quota) -> Self {
        let item = quoted(name);
        let window = quota.window();
        // draft §3: sub-second precision is not supported
        let text = match window.subsec_nanos() {
            0 => format!("{item};q={};w={}", quota.permits(), window.as_secs()),
            _ => format!("{item};q={}", quota.permits()),
        };
        let policy = HeaderValue::try_from(text).expect("a name is printable ASCII");
        Self { item, policy }
    }

    /// Adds what `decision` says. An item that an inner service wrote under the same name stays.
    pub(super) fn append(&self, headers: &mut HeaderMap, decision: &Decision) {
        let standing = decision.standing();
        let window = seconds(standing.effective_window());
        if !self.is_in(headers, &RATELIMIT) {
            let text = format!("{};r={};t={window}", self.item, standing.remaining());
            let value = HeaderValue::try_from(text).expect("a name is printable ASCII");
            headers.append(RATELIMIT, value);
        }
        if !self.is_in(headers, &RATELIMIT_POLICY) {
            headers.append(RATELIMIT_POLICY, self.policy.clone());
        }
        if let Some(wait) = decision.retry_after() {
            // draft §6: Retry-After is not before the end of the effective window
            headers.insert(RETRY_AFTER, seconds(wait).max(window).into());
        }
    }

    fn is_in(&self, headers: &HeaderMap, name: &HeaderName) -> bool {
        let item = self.item.as_bytes();
        headers.get_all(name).iter().any(|value| {
            value
                .as_bytes()
                .windows(item.len())
                .any(|part| part == item)
        })
    }
}

/// RFC 9651 §4.1.6: a backslash before quotes and backslashes, quotes around.
fn quoted(name: &str) -> String {
    let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// Whole seconds, at least one, never too few.
fn seconds(duration: Duration) -> u64 {
    let more = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(more).max(1)
}

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

#[cfg(test)]
mod tests {
    use super::{super::gcra::Outcome, *};

    /// The fields after an empty response to a request that was not admitted.
    fn denied(quota: Quota, debt: u64, cost: u32) -> HeaderMap {
        let admitted = false;
        let outcome = Outcome { admitted, debt };
        let decision = Decision::new(&"x".into(), quota, &quota.rate(), outcome, cost);
        let mut headers = HeaderMap::new();
        Fields::new("x", quota).append(&mut headers, &decision);
        headers
    }

    #[test]
    fn a_request_that_never_fits_is_not_told_to_retry() {
        let headers = denied(Quota::per_minute(10), 0, 11);
        assert_eq!(headers[RATELIMIT], r#""x";r=10;t=60"#);
        assert!(!headers.contains_key(RETRY_AFTER));
    }

    #[test]
    fn the_retry_is_not_before_the_end_of_the_window() {
        // Half of the ten are used, six are asked for: one more is enough, but the window of the five is longer.
        let headers = denied(Quota::per_minute(10), 30_000_000, 6);
        assert_eq!(headers[RATELIMIT], r#""x";r=5;t=30"#);
        assert_eq!(headers[RETRY_AFTER], "30");
    }

    #[test]
    fn a_window_that_is_not_whole_seconds_is_left_out() {
        let policy = |millis| {
            let quota = Quota::new(5, Duration::from_millis(millis));
            Fields::new("x", quota).policy
        };
        assert_eq!(policy(500), r#""x";q=5"#);
        assert_eq!(policy(1_500), r#""x";q=5"#);
        assert_eq!(policy(2_000), r#""x";q=5;w=2"#);
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(quoted(r#"a "b" \c"#), r#""a \"b\" \\c""#);
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(seconds(Duration::ZERO), 1);
        assert_eq!(seconds(Duration::from_nanos(1)), 1);
        assert_eq!(seconds(Duration::from_secs(2)), 2);
        assert_eq!(seconds(Duration::from_micros(2_000_001)), 3);
        assert_eq!(seconds(Duration::MAX), u64::MAX);
    }
}
