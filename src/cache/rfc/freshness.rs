//! The age and the freshness lifetime of an answer (RFC 9111 §4.2).

use http::{HeaderMap, header};

use super::{cache_control::delta_seconds, date, targeted::Stated};

/// When a request was sent to the handler and when its answer came, in milliseconds of Unix time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) sent_ms: u64,
    pub(crate) received_ms: u64,
}

impl Times {
    pub(crate) fn received_seconds(self) -> i64 {
        i64::try_from(self.received_ms / 1000).unwrap_or(i64::MAX)
    }
}

/// The lifetime that the answer states, in seconds: `None` if it states none, 0 if it states an invalid one.
pub(crate) fn explicit_lifetime(headers: &HeaderMap, stated: &Stated, times: Times) -> Option<u64> {
    let directives = &stated.directives;
    // RFC 9111 §4.2.1: s-maxage, then max-age, then Expires
    if let Some(seconds) = directives.s_maxage.or(directives.max_age) {
        return Some(seconds.into());
    }
    // RFC 9213 §2.2: a targeted field replaces Expires too
    if stated.is_targeted {
        return None;
    }
    let mut lines = headers.get_all(header::EXPIRES).iter();
    let expires = lines.next()?;
    let now = times.received_seconds();
    // RFC 9111 §5.3: an invalid date, or more than one line, counts as a date in the past
    let expires = match lines.next() {
        None => date::parse(expires.as_bytes(), now),
        Some(_) => None,
    };
    let lifetime = expires.map_or(0, |expires| expires - date_of(headers, now));
    Some(u64::try_from(lifetime).unwrap_or(0))
}

/// RFC 9111 §4.2.2: a tenth of the time since the last change, in seconds; `None` without a valid `Last-Modified`.
pub(crate) fn heuristic_lifetime(headers: &HeaderMap, times: Times) -> Option<u64> {
    let now = times.received_seconds();
    let modified = date::parse(headers.get(header::LAST_MODIFIED)?.as_bytes(), now)?;
    u64::try_from((date_of(headers, now) - modified) / 10).ok()
}

/// The age of an answer when it was received (RFC 9111 §4.2.3: `corrected_initial_age`).
pub(crate) fn initial_age_ms(headers: &HeaderMap, times: Times) -> u64 {
    let now = times.received_seconds();
    let apparent = u64::try_from(now - date_of(headers, now))
        .unwrap_or(0)
        .saturating_mul(1000);
    let delay = times.received_ms.saturating_sub(times.sent_ms);
    let corrected = age_value(headers)
        .saturating_mul(1000)
        .saturating_add(delay);
    apparent.max(corrected)
}

/// The `Date` of an answer, or the time of receipt if it has none that is valid (RFC 9110 §6.6.1).
fn date_of(headers: &HeaderMap, now: i64) -> i64 {
    let date = headers.get(header::DATE);
    date.and_then(|date| date::parse(date.as_bytes(), now))
        .unwrap_or(now)
}

/// RFC 9111 §5.1: the first member counts, and an invalid one is ignored.
fn age_value(headers: &HeaderMap) -> u64 {
    let first = headers
        .get(header::AGE)
        .and_then(|age| age.as_bytes().split(|byte| *byte == b',').next());
    first
        .and_then(|age| delta_seconds(age.trim_ascii()))
        .unwrap_or(0)
        .into()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_795_305_600;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).expect("a field value"),
            );
        }
        headers
    }

    fn times(delay_ms: u64) -> Times {
        let received_ms = NOW as u64 * 1000;
        Times {
            sent_ms: received_ms - delay_ms,
            received_ms,
        }
    }

    fn lifetime(lines: &[(&'static str, &str)]) -> Option<u64> {
        let headers = headers(lines);
        explicit_lifetime(&headers, &Stated::of(&headers, &[]), times(0))
    }

    #[test]
    fn the_more_specific_statement_counts() {
        let expires = date::format(NOW + 100);
        let (s, m, e) = (
            ("cache-control", "s-maxage=1"),
            ("cache-control", "max-age=10"),
            ("expires", &*expires),
        );
        assert_eq!(lifetime(&[m, e, s]), Some(1));
        assert_eq!(lifetime(&[e, m]), Some(10));
        assert_eq!(lifetime(&[e]), Some(100));
        assert_eq!(lifetime(&[]), None);
        assert_eq!(lifetime(&[("cache-control", "public")]), None);
        assert_eq!(lifetime(&[("cache-control", "max-age=oops"), e]), Some(0));
    }

    #[test]
    fn expires_counts_from_date() {
        let (early, late) = (date::format(NOW - 10), date::format(NOW + 10));
        assert_eq!(lifetime(&[("expires", &late), ("date", &early)]), Some(20));
        assert_eq!(lifetime(&[("expires", &early), ("date", &late)]), Some(0));
        assert_eq!(lifetime(&[("expires", &late), ("date", "foo")]), Some(10));
        for invalid in ["0", "-1", "", "tomorrow"] {
            assert_eq!(lifetime(&[("expires", invalid)]), Some(0), "{invalid}");
        }
        assert_eq!(lifetime(&[("expires", &late), ("expires", &late)]), Some(0));
    }

    #[test]
    fn age_is_the_greater_of_what_date_and_age_say() {
        let old = date::format(NOW - 50);
        let age =
            |lines: &[(&'static str, &str)], delay| initial_age_ms(&headers(lines), times(delay));
        assert_eq!(age(&[], 0), 0);
        assert_eq!(age(&[], 1500), 1500);
        assert_eq!(age(&[("date", &old)], 0), 50_000);
        assert_eq!(age(&[("date", &old), ("age", "20")], 0), 50_000);
        assert_eq!(age(&[("date", &old), ("age", "70")], 2000), 72_000);
        assert_eq!(age(&[("date", &date::format(NOW + 50))], 0), 0);
    }

    #[test]
    fn the_first_valid_age_counts() {
        for (text, seconds) in [
            ("7200", 7200),
            ("7200, 0", 7200),
            ("0, 7200", 0),
            (" 7 ,8", 7),
            ("abc", 0),
            ("-7200", 0),
            ("", 0),
            ("2147483648", 1 << 31),
            ("18446744073709551616", 1 << 31),
        ] {
            assert_eq!(age_value(&headers(&[("age", text)])), seconds, "{text}");
        }
        assert_eq!(age_value(&headers(&[("age", "7200"), ("age", "0")])), 7200);
    }

    #[test]
    fn a_tenth_of_the_time_since_the_last_change() {
        let heuristic =
            |modified: &str| heuristic_lifetime(&headers(&[("last-modified", modified)]), times(0));
        assert_eq!(heuristic(&date::format(NOW - 86_400)), Some(8640));
        assert_eq!(heuristic(&date::format(NOW - 9)), Some(0));
        assert_eq!(heuristic(&date::format(NOW + 100)), None);
        assert_eq!(heuristic("yesterday"), None);
        assert_eq!(heuristic_lifetime(&headers(&[]), times(0)), None);
    }

    #[test]
    fn a_targeted_field_overrules_expires() {
        let expires = date::format(NOW + 100);
        let lines = [("expires", &*expires), ("cdn-cache-control", "public")];
        let targets = [HeaderName::from_static("cdn-cache-control")];
        let all = headers(&lines);
        let stated = Stated::of(&all, &targets);
        assert_eq!(explicit_lifetime(&all, &stated, times(0)), None);
    }

    proptest! {
        /// Dates and ages as far out as they can be said, and clocks that show anything.
        #[test]
        fn no_time_overflows(
            sent_ms in any::<u64>(),
            received_ms in any::<u64>(),
            date in "(Sat, 01 Jan 0000 00:00:60 GMT|Fri, 31 Dec 9999 23:59:60 GMT|[A-Za-z0-9: ,]{0,30})",
            expires in "(Sat, 01 Jan 0000 00:00:00 GMT|Fri, 31 Dec 9999 23:59:60 GMT|-1|)",
            modified in "(Sat, 01 Jan 0000 00:00:00 GMT|Fri, 31 Dec 9999 23:59:60 GMT)",
            age in "(-?[0-9]{1,25}|18446744073709551615|abc)",
        ) {
            let times = Times { sent_ms, received_ms };
            let all = headers(&[
                ("date", &date),
                ("expires", &expires),
                ("last-modified", &modified),
                ("age", &age),
            ]);
            let stated = Stated::of(&all, &[]);
            let lifetime = explicit_lifetime(&all, &stated, times);
            prop_assert!(lifetime.is_some());
            let _ = heuristic_lifetime(&all, times);
            // The age is at least the response delay.
            prop_assert!(initial_age_ms(&all, times) >= received_ms.saturating_sub(sent_ms));
        }

        #[test]
        fn expires_says_exactly_what_it_says(offset in -1_000_000i64..1_000_000, skew in -100_000i64..100_000) {
            let (date, expires) = (date::format(NOW + skew), date::format(NOW + skew + offset));
            let said = lifetime(&[("date", &date), ("expires", &expires)]);
            prop_assert_eq!(said, Some(u64::try_from(offset).unwrap_or(0)));
        }
    }
}
