//! The constant parts of a policy's items in structured fields (RFC 9651).

use std::time::Duration;

use http::HeaderValue;

use super::quota::Quota;

/// The constant parts of what `RateLimit` and `RateLimit-Policy` say about a policy.
#[derive(Clone, Debug)]
pub(crate) struct PolicyItems {
    /// The name as an RFC 9651 §3.3.3 String.
    pub(crate) item: String,
    /// The item of `RateLimit-Policy` in draft 11.
    pub(crate) policy: String,
    /// The same as the value of a field.
    pub(crate) policy_field: Option<HeaderValue>,
}

impl PolicyItems {
    /// For a quota, or for a concurrency policy with `limit` places.
    pub(crate) fn new(name: &str, quota: Option<Quota>, limit: u32) -> Self {
        let item = quoted(name);
        let policy = match quota {
            Some(quota) => match whole_seconds(quota.window()) {
                Some(window) => format!("{item};q={};w={window}", quota.permits()),
                None => format!("{item};q={}", quota.permits()),
            },
            None => format!("{item};q={limit};qu=\"concurrent-requests\""),
        };
        Self {
            // A name is printable ASCII, so there is a value.
            policy_field: HeaderValue::try_from(&policy).ok(),
            item,
            policy,
        }
    }
}

/// The window, if it is whole seconds: `w` has no fractions of a second (draft 11 §3).
fn whole_seconds(window: Duration) -> Option<u64> {
    (window.subsec_nanos() == 0).then_some(window.as_secs())
}

/// RFC 9651 §4.1.6: puts a backslash before each quote and backslash, and quotes around the whole.
fn quoted(name: &str) -> String {
    let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_is_not_whole_seconds_is_left_out() {
        let policy = |millis| {
            let quota = Quota::new(5, Duration::from_millis(millis));
            PolicyItems::new("x", Some(quota), 5).policy
        };
        assert_eq!(policy(500), r#""x";q=5"#);
        assert_eq!(policy(1_500), r#""x";q=5"#);
        assert_eq!(policy(2_000), r#""x";q=5;w=2"#);
    }

    #[test]
    fn places_have_their_unit() {
        let fields = PolicyItems::new("x", None, 4);
        assert_eq!(fields.policy, r#""x";q=4;qu="concurrent-requests""#);
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(quoted(r#"a "b" \c"#), r#""a \"b\" \\c""#);
    }
}
