use http::HeaderValue;

use super::*;
use crate::{cache::date, store::Life};

const NOW: i64 = 1_795_305_600;
const TTL: Option<Duration> = Some(Duration::from_secs(30));

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

fn with(
    request: &[(&'static str, &str)],
    status: u16,
    response: &[(&'static str, &str)],
    ttl: Option<Duration>,
) -> Result<Verdict, &'static str> {
    let received_ms = NOW as u64 * 1000;
    judge(
        &Demands::of(&headers(request), true),
        StatusCode::from_u16(status).expect("a status"),
        &headers(response),
        Times {
            sent_ms: received_ms,
            received_ms,
        },
        ttl,
    )
}

fn said(directives: &str) -> Result<Verdict, &'static str> {
    with(&[], 200, &[("cache-control", directives)], None)
}

#[test]
fn only_a_stated_lifetime_is_stored() {
    assert_eq!(
        said("max-age=60").map(|verdict| verdict.lifetime_ms),
        Ok(60_000)
    );
    assert_eq!(said("public"), Err("no lifetime"));
    assert_eq!(with(&[], 200, &[], None), Err("no lifetime"));
    let modified = date::format(NOW - 100_000);
    assert_eq!(
        with(&[], 200, &[("last-modified", &modified)], None),
        Err("no lifetime")
    );
    assert_eq!(said("max-age=0"), Err("stale"));
    assert_eq!(said("max-age=oops"), Err("stale"));
}

#[test]
fn restrictions_prevent_storing_with_or_without_a_ttl() {
    for (response, why) in [
        (("cache-control", "max-age=60, No-StOrE"), "no-store"),
        (("cache-control", "Private, max-age=60"), "private"),
        (("cache-control", "no-cache, max-age=60"), "no-cache"),
        (("set-cookie", "a=b"), "set-cookie"),
        (("vary", "accept, *"), "Vary: *"),
        (("vary", "Cookie"), "Vary: Cookie or Authorization"),
        (
            ("vary", "accept, authorization"),
            "Vary: Cookie or Authorization",
        ),
        (
            ("content-type", "Text/Event-Stream; charset=utf-8"),
            "event stream",
        ),
        (("cache-control", "max-age=0"), "stale"),
        (("expires", "0"), "stale"),
    ] {
        assert_eq!(with(&[], 200, &[response], TTL), Err(why), "{response:?}");
        let fresh = ("cache-control", "s-maxage=60");
        let both = with(&[], 200, &[response, fresh], TTL);
        // A longer life is a matter of freshness, not of permission.
        assert_eq!(both.is_err(), why != "stale", "{response:?}");
    }
    assert_eq!(
        with(&[("cache-control", "no-store")], 200, &[], TTL),
        Err("no-store in the request")
    );
}

#[test]
fn a_ttl_covers_what_says_nothing() {
    for status in [200, 203, 204, 301, 308, 404, 410] {
        assert_eq!(
            with(&[], status, &[], TTL).map(|verdict| verdict.lifetime_ms),
            Ok(30_000),
            "{status}"
        );
    }
    for status in [201, 202, 302, 303, 307, 400, 401, 403, 405, 500, 503, 599] {
        assert_eq!(with(&[], status, &[], TTL), Err("no lifetime"), "{status}");
    }
    let own = with(&[], 200, &[("cache-control", "max-age=5")], TTL);
    assert_eq!(own.map(|verdict| verdict.lifetime_ms), Ok(5000));
}

#[test]
fn any_final_status_with_a_lifetime_is_stored() {
    let fresh = [("cache-control", "max-age=60")];
    for status in [200, 204, 299, 302, 400, 404, 413, 499, 500, 503, 599, 999] {
        assert!(with(&[], status, &fresh, None).is_ok(), "{status}");
    }
    for status in [100, 103, 206, 304, 429] {
        assert!(with(&[], status, &fresh, None).is_err(), "{status}");
    }
}

#[test]
fn an_understood_status_lifts_no_store() {
    let careful = [("cache-control", "max-age=60, no-store, must-understand")];
    assert!(with(&[], 200, &careful, None).is_ok());
    assert_eq!(with(&[], 599, &careful, None), Err("must-understand"));
    let private = [(
        "cache-control",
        "max-age=60, no-store, must-understand, private",
    )];
    assert_eq!(with(&[], 200, &private, None), Err("private"));
}

#[test]
fn an_authorized_answer_is_shared_only_with_leave() {
    let request = [("authorization", "Bearer a")];
    for (directives, stored) in [
        ("max-age=60", false),
        ("max-age=60, proxy-revalidate", false),
        ("max-age=60, public", true),
        ("max-age=60, must-revalidate", true),
        ("s-maxage=60", true),
        ("s-maxage=60, private", false),
    ] {
        let response = [("cache-control", directives)];
        assert_eq!(
            with(&request, 200, &response, None).is_ok(),
            stored,
            "{directives}"
        );
        assert_eq!(
            with(&request, 200, &response, TTL).is_ok(),
            stored,
            "{directives}"
        );
    }
    assert_eq!(with(&request, 200, &[], TTL), Err("authorization"));
}

#[test]
fn named_fields_are_withheld() {
    let verdict = said("max-age=60, private=\"x-a, x-b\", no-cache=x-c").expect("stored");
    let mut withheld = verdict.withheld;
    withheld.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    assert_eq!(withheld, ["x-a", "x-b", "x-c"]);
    // A cookie prevents storing even if it is named.
    let named = [
        ("cache-control", "max-age=60, no-cache=\"set-cookie\""),
        ("set-cookie", "a=b"),
    ];
    assert_eq!(with(&[], 200, &named, None), Err("set-cookie"));
}

#[test]
fn what_is_too_old_on_arrival_is_not_stored() {
    let date = date::format(NOW - 7200);
    for old in [("age", "3600"), ("age", "7200, 0"), ("date", &*date)] {
        let lines = [("cache-control", "max-age=3600"), old];
        assert_eq!(with(&[], 200, &lines, None), Err("stale"), "{old:?}");
    }
    let young = [("cache-control", "max-age=3600"), ("age", "3599")];
    assert_eq!(
        with(&[], 200, &young, None).map(|verdict| verdict.initial_age_ms),
        Ok(3_599_000)
    );
}

/// An answer that is 30 of 100 seconds old.
fn stored() -> Head {
    Head {
        status: StatusCode::OK,
        life: Life {
            born_ms: 1_000_000,
            lifetime_ms: 100_000,
            initial_age_ms: 10_000,
            ..Life::default()
        },
        headers: HeaderMap::new(),
    }
}

const THEN: u64 = 1_020_000;

#[test]
fn a_client_may_want_something_fresher() {
    for (name, value, outcome) in [
        ("accept", "*/*", Ok(())),
        ("cache-control", "no-cache", Err(Forward::Request)),
        ("cache-control", "no-cache=\"x\"", Err(Forward::Request)),
        ("cache-control", "max-age=0", Err(Forward::Request)),
        ("cache-control", "max-age=29", Err(Forward::Request)),
        ("cache-control", "max-age=30", Ok(())),
        ("cache-control", "min-fresh=70", Ok(())),
        ("cache-control", "min-fresh=71", Err(Forward::Request)),
        ("cache-control", "max-stale=1000, foo", Ok(())),
        ("cache-control", "no-store", Ok(())),
        ("cache-control", "only-if-cached", Ok(())),
        ("pragma", "foo", Ok(())),
        ("pragma", "No-Cache", Err(Forward::Request)),
        ("pragma", "foo, no-cache", Err(Forward::Request)),
    ] {
        let request = headers(&[(name, value)]);
        assert_eq!(
            Demands::of(&request, true).accept(&stored(), THEN),
            outcome,
            "{name}: {value}"
        );
        assert_eq!(
            Demands::of(&request, false).accept(&stored(), THEN),
            Ok(()),
            "{name}: {value}"
        );
    }
    let both = headers(&[("pragma", "no-cache"), ("cache-control", "foo")]);
    assert_eq!(Demands::of(&both, true).accept(&stored(), THEN), Ok(()));
}

#[test]
fn a_stale_answer_is_never_used() {
    let demands = Demands::of(&headers(&[("cache-control", "max-stale")]), true);
    assert_eq!(demands.accept(&stored(), 1_089_999), Ok(()));
    assert_eq!(demands.accept(&stored(), 1_090_000), Err(Forward::Stale));
}
