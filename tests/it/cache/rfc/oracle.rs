//! What this cache reuses, beside what `http-cache-semantics` would: wherever they differ, it is known why.

use std::{collections::BTreeSet, time::SystemTime};

use axum::body::Body;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};

use crate::cache::{Site, is_hit, request};

/// One answer: its status, and which of `FIELDS` it has.
#[derive(Clone, Debug)]
struct Case {
    status: u16,
    fields: Vec<(&'static str, String)>,
}

const DIRECTIVES: [&str; 10] = [
    "",
    "max-age=60",
    "max-age=0",
    "s-maxage=60, max-age=0",
    "s-maxage=0, max-age=60",
    "public",
    "max-age=60, private",
    "max-age=60, no-store",
    "max-age=60, must-revalidate",
    "max-age=60, proxy-revalidate",
];
const SPELLINGS: [&str; 3] = [
    "MAX-AGE=60",
    "max-age=60, No-Store",
    "x=\"a, max-age=9\", max-age=0",
];

fn cases() -> Vec<Case> {
    let at = |seconds: u64, later: bool| {
        let distance = std::time::Duration::from_secs(seconds);
        let now = SystemTime::now();
        httpdate::fmt_http_date(if later {
            now + distance
        } else {
            now - distance
        })
    };
    let mut cases = Vec::new();
    for status in [200, 203, 204, 301, 302, 307, 308, 404, 410, 500, 503] {
        for directives in DIRECTIVES.iter().chain(&SPELLINGS) {
            for more in 0..5 {
                let mut fields = vec![("date", at(0, true))];
                if !directives.is_empty() {
                    fields.push(("cache-control", (*directives).to_owned()));
                }
                match more {
                    0 => {}
                    1 => fields.push(("expires", at(600, true))),
                    2 => fields.push(("expires", at(600, false))),
                    3 => fields.push(("set-cookie", "a=b".to_owned())),
                    _ => fields.push(("age", "100".to_owned())),
                }
                cases.push(Case { status, fields });
            }
        }
    }
    cases
}

impl Case {
    fn response<B>(&self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).expect("a status");
        for (name, value) in &self.fields {
            let value = HeaderValue::from_str(value).expect("a value");
            response
                .headers_mut()
                .append(HeaderName::from_static(name), value);
        }
        response
    }

    fn has(&self, name: &str, text: &str) -> bool {
        let is = |(other, value): &(&str, String)| *other == name && value.contains(text);
        self.fields.iter().any(is)
    }

    /// Whether the oracle would answer a second request with this.
    fn oracle(&self) -> bool {
        let asked = Request::get("http://shop.example/")
            .body(())
            .expect("a request");
        let options = CacheOptions {
            cache_heuristic: 0.0,
            ..CacheOptions::default()
        };
        let now = SystemTime::now();
        let policy = CachePolicy::new_options(&asked, &self.response(()), now, options);
        policy.is_storable()
            && matches!(policy.before_request(&asked, now), BeforeRequest::Fresh(_))
    }

    /// Why this cache decides otherwise, if that is known.
    fn known(&self, ours: bool) -> Option<&'static str> {
        let reasons = [
            // Safer than RFC 9111 §7.3.
            (
                !ours && self.has("set-cookie", ""),
                "an answer with Set-Cookie is not stored",
            ),
            // RFC 9111 §5.2: names are compared without letter case.
            (
                ours && self.has("cache-control", "MAX-AGE"),
                "it takes only lower-case directives",
            ),
            (
                !ours && self.has("cache-control", "No-Store"),
                "it takes only lower-case directives",
            ),
            // RFC 9111 §5.2: commas in quotation marks are part of the value.
            (
                !ours && self.has("cache-control", "x=\""),
                "it splits quoted strings",
            ),
            // RFC 9111 §5.2.2.8: fresh answers are not concerned.
            (
                ours && self.has("cache-control", "proxy-revalidate"),
                "it never reuses with proxy-revalidate",
            ),
            // RFC 9111 §3: any final status with explicit freshness.
            (
                ours && matches!(self.status, 500 | 503 | 302 | 307),
                "it stores fewer statuses",
            ),
        ];
        reasons
            .into_iter()
            .find_map(|(holds, why)| holds.then_some(why))
    }
}

#[tokio::test]
async fn every_difference_to_the_oracle_is_known() {
    let cases = cases();
    let replies = cases.clone();
    let site = Site::new(move |parts| {
        let number: usize = parts.uri.path()[1..].parse().expect("a number");
        let body = if replies[number].status == 204 {
            Body::empty()
        } else {
            "x".into()
        };
        replies[number].response(body)
    })
    .await;
    let (mut unknown, mut met) = (Vec::new(), BTreeSet::new());
    for (number, case) in cases.iter().enumerate() {
        let path = format!("/{number}");
        site.send(request("GET", &path, &[])).await;
        let ours = is_hit(&site.get(&path, &[]).await);
        if ours != case.oracle() {
            match case.known(ours) {
                Some(why) => drop(met.insert(why)),
                None => unknown.push(format!("ours {ours}: {case:?}")),
            }
        }
    }
    assert!(
        unknown.is_empty(),
        "{} of {}:\n{}",
        unknown.len(),
        cases.len(),
        unknown.join("\n")
    );
    // A reason that no case needs any more is to be taken off the list.
    assert!(met.len() >= 4, "{met:?}");
}
