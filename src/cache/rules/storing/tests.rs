use http::HeaderValue;

use super::*;
use crate::{cache::rfc::date, store::key::resource};

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
    let policy = Policy {
        ttl,
        ..Policy::default()
    };
    by(&policy, request, status, response, None)
}

fn by(
    policy: &Policy,
    request: &[(&'static str, &str)],
    status: u16,
    response: &[(&'static str, &str)],
    control: Option<&CacheFor>,
) -> Result<Verdict, &'static str> {
    let received_ms = NOW as u64 * 1000;
    let (request, response) = (headers(request), headers(response));
    let reply = Reply {
        request: &RequestDirectives::of(&request, true),
        origin: &resource("host", "/", None),
        status: StatusCode::from_u16(status).expect("a status"),
        headers: &response,
        times: Times {
            sent_ms: received_ms,
            received_ms,
        },
        control,
    };
    judge(&reply, policy).map_err(Refusal::why)
}

fn said(directives: &str) -> Result<Verdict, &'static str> {
    with(&[], 200, &[("cache-control", directives)], None)
}

#[test]
fn only_a_stated_lifetime_is_stored() {
    assert_eq!(
        said("max-age=60").map(|verdict| verdict.life.lifetime_ms),
        Ok(60_000)
    );
    assert_eq!(said("public"), Err("no-lifetime"));
    assert_eq!(with(&[], 200, &[], None), Err("no-lifetime"));
    let modified = date::format(NOW - 100_000);
    assert_eq!(
        with(&[], 200, &[("last-modified", &modified)], None),
        Err("no-lifetime")
    );
    assert_eq!(said("max-age=0"), Err("expired"));
    assert_eq!(said("max-age=oops"), Err("expired"));
}

#[test]
fn restrictions_prevent_storing_with_or_without_a_ttl() {
    for (response, why) in [
        (("cache-control", "max-age=60, No-StOrE"), "no-store"),
        (("cache-control", "Private, max-age=60"), "private"),
        (("set-cookie", "a=b"), "set-cookie"),
        (("vary", "accept, *"), "vary-any"),
        (("vary", "Cookie"), "vary-cookie"),
        (("vary", "accept, authorization"), "vary-authorization"),
        (
            ("content-type", "Text/Event-Stream; charset=utf-8"),
            "event-stream",
        ),
        (("cache-control", "max-age=0"), "expired"),
        (("expires", "0"), "expired"),
    ] {
        assert_eq!(with(&[], 200, &[response], TTL), Err(why), "{response:?}");
        let fresh = ("cache-control", "s-maxage=60");
        let both = with(&[], 200, &[response, fresh], TTL);
        // A longer life is a matter of freshness, not of permission.
        assert_eq!(both.is_err(), why != "expired", "{response:?}");
    }
    assert_eq!(
        with(&[("cache-control", "no-store")], 200, &[], TTL),
        Err("request-no-store")
    );
}

#[test]
fn a_ttl_covers_what_says_nothing() {
    for status in [200, 203, 204, 301, 308, 404, 410] {
        assert_eq!(
            with(&[], status, &[], TTL).map(|verdict| verdict.life.lifetime_ms),
            Ok(30_000),
            "{status}"
        );
    }
    for status in [201, 202, 302, 303, 307, 400, 401, 403, 405, 500, 503, 599] {
        assert_eq!(with(&[], status, &[], TTL), Err("no-lifetime"), "{status}");
    }
    let own = with(&[], 200, &[("cache-control", "max-age=5")], TTL);
    assert_eq!(own.map(|verdict| verdict.life.lifetime_ms), Ok(5000));
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
        assert_eq!(with(&[], 200, &lines, None), Err("expired"), "{old:?}");
    }
    let young = [("cache-control", "max-age=3600"), ("age", "3599")];
    assert_eq!(
        with(&[], 200, &young, None).map(|verdict| verdict.life.initial_age_ms),
        Ok(3_599_000)
    );
}

#[test]
fn what_can_be_validated_is_stored_stale() {
    for (directives, lifetime_ms, keeps) in [
        ("no-cache", 0, true),
        ("max-age=60, no-cache", 0, true),
        ("max-age=0", 0, true),
        ("max-age=0, must-revalidate", 0, true),
    ] {
        for validator in [("etag", "\"a\""), ("last-modified", "then")] {
            let lines = [("cache-control", directives), validator];
            let life = with(&[], 200, &lines, None).expect("stored").life;
            assert_eq!(life.lifetime_ms, lifetime_ms, "{directives}");
            assert_eq!(life.keep_ms == 3_600_000, keeps, "{directives}");
        }
        assert_eq!(said(directives), Err("expired"), "{directives}");
    }
    // Nothing says that it may be stored.
    assert_eq!(
        with(&[], 200, &[("etag", "\"a\"")], None),
        Err("no-lifetime")
    );
}

#[test]
fn windows_for_staleness_are_the_answers_or_the_servers() {
    let policy = Policy {
        stale_while_revalidate: Some(Duration::from_secs(5)),
        stale_if_error: Some(Duration::from_secs(6)),
        ..Policy::default()
    };
    for (directives, swr_ms, sie_ms) in [
        ("max-age=60", 5000, 6000),
        ("max-age=60, stale-while-revalidate=7", 7000, 6000),
        ("max-age=60, stale-if-error=8", 5000, 8000),
        ("max-age=60, stale-if-error=oops", 5000, 0),
        ("max-age=60, must-revalidate, stale-if-error=8", 0, 0),
        ("max-age=60, proxy-revalidate", 0, 0),
        ("s-maxage=60, stale-while-revalidate=7", 0, 0),
    ] {
        let lines = [("cache-control", directives)];
        let life = by(&policy, &[], 200, &lines, None).expect("stored").life;
        assert_eq!((life.swr_ms, life.sie_ms), (swr_ms, sie_ms), "{directives}");
    }
}

#[test]
fn a_guess_is_for_what_is_cacheable_by_default() {
    let policy = Policy {
        heuristic: Some(Duration::from_secs(3600)),
        ..Policy::default()
    };
    let modified = |offset| date::format(NOW + offset);
    let life = |status, modified: &str, directives| {
        let lines = [("last-modified", modified), ("cache-control", directives)];
        by(&policy, &[], status, &lines, None).map(|verdict| verdict.life.lifetime_ms)
    };
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        assert_eq!(life(status, &modified(-600), "x"), Ok(60_000), "{status}");
    }
    for status in [201, 202, 302, 403, 500, 502, 503, 599] {
        assert_eq!(
            life(status, &modified(-600), "x"),
            Err("no-lifetime"),
            "{status}"
        );
        assert_eq!(
            life(status, &modified(-600), "public"),
            Ok(60_000),
            "{status}"
        );
    }
    assert_eq!(life(200, &modified(-86_400_000), "x"), Ok(3_600_000));
    assert_eq!(life(200, &modified(600), "x"), Err("no-lifetime"));
    assert_eq!(life(200, "yesterday", "x"), Err("no-lifetime"));
    assert_eq!(life(200, &modified(-600), "max-age=5"), Ok(5000));
}

#[test]
fn what_the_handler_says_counts_most_but_permits_nothing() {
    let control = CacheFor::secs(300).stale_if_error(Duration::from_secs(9));
    let of =
        |lines: &[(&'static str, &str)]| by(&Policy::default(), &[], 200, lines, Some(&control));
    let life = of(&[("cache-control", "max-age=5"), ("age", "7")])
        .expect("stored")
        .life;
    assert_eq!((life.lifetime_ms, life.initial_age_ms), (307_000, 7000));
    assert_eq!(life.sie_ms, 9000);
    assert!(of(&[]).is_ok());
    assert_eq!(of(&[("cache-control", "no-store")]), Err("no-store"));
    assert_eq!(of(&[("cache-control", "private")]), Err("private"));
    assert_eq!(of(&[("set-cookie", "a=b")]), Err("set-cookie"));
    let careful = of(&[("cache-control", "must-revalidate")])
        .expect("stored")
        .life;
    assert_eq!(careful.sie_ms, 0);
}

#[test]
fn policies_choose_statuses_and_negative_lifetimes() {
    let policy = Policy {
        ttl: TTL,
        negative_ttl: Some(Duration::from_secs(2)),
        ..Policy::default()
    };
    let life = |policy: &Policy, status| {
        by(policy, &[], status, &[], None).map(|verdict| verdict.life.lifetime_ms)
    };
    for (status, lifetime) in [
        (200, Ok(30_000)),
        (404, Ok(2000)),
        (405, Ok(2000)),
        (501, Ok(2000)),
        (500, Err("no-lifetime")),
    ] {
        assert_eq!(life(&policy, status), lifetime, "{status}");
    }
    let only = Policy {
        statuses: Some(vec![StatusCode::OK, StatusCode::FOUND]),
        ..policy
    };
    assert_eq!(life(&only, 302), Ok(30_000));
    assert_eq!(life(&only, 404), Err("status"));
    let fresh = [("cache-control", "max-age=60")];
    assert_eq!(by(&only, &[], 301, &fresh, None), Err("status"));
}

#[test]
fn a_key_that_has_the_cookie_may_vary_by_it() {
    let policy = Policy {
        keyed: vec![header::COOKIE],
        ..Policy::default()
    };
    let lines = [("cache-control", "max-age=60"), ("vary", "cookie, accept")];
    let verdict = by(&policy, &[], 200, &lines, None).expect("stored");
    assert_eq!(verdict.vary, ["accept"]);
    let lines = [("cache-control", "max-age=60"), ("vary", "authorization")];
    assert!(by(&policy, &[], 200, &lines, None).is_err());
}

#[test]
fn an_answer_that_a_purge_might_not_reach_is_not_stored() {
    let fresh = [("cache-control", "max-age=60")];
    for (count, is_stored) in [(MOST_TAGS, true), (MOST_TAGS + 1, false)] {
        let tags = (0..count).map(|number| number.to_string());
        let said = CacheFor::secs(1).tags(tags);
        assert_eq!(
            by(&Policy::default(), &[], 200, &fresh, Some(&said)).is_ok(),
            is_stored,
            "{count}"
        );
    }
}
