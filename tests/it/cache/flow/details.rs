use axum::body::Body;
use http::{Response, StatusCode};
use sfv::{List, Parser};
use tower::{Layer, ServiceExt};
use tower_fred::{
    CacheLayer,
    cache::{CacheFor, NoCache},
};

use crate::cache::{Origin, Site, fresh, reply, request, status};

/// A request, and what the handler says to it.
type Case = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    fn() -> Response<Body>,
);

fn with(code: u16, fields: &[(&str, &str)]) -> Response<Body> {
    let mut response = reply(fields, "a body");
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

fn lasting(code: u16) -> Response<Body> {
    with(code, &[("cache-control", "max-age=60")])
}

fn also(name: &str, value: &str) -> Response<Body> {
    with(200, &[("cache-control", "max-age=60"), (name, value)])
}

/// Only the debug log once said why an answer was not stored.
#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a table")]
async fn each_reason_has_its_word() {
    const CASES: &[Case] = &[
        ("authorization", "GET", &[("authorization", "x")], || {
            lasting(200)
        }),
        ("head", "HEAD", &[], || lasting(200)),
        (
            "request-no-store",
            "GET",
            &[("cache-control", "no-store")],
            || lasting(200),
        ),
        ("event-stream", "GET", &[], || {
            also("content-type", "text/event-stream")
        }),
        ("expired", "GET", &[], || {
            with(200, &[("cache-control", "max-age=0")])
        }),
        ("handler", "GET", &[], || {
            let mut response = lasting(200);
            response.extensions_mut().insert(NoCache);
            response
        }),
        ("length", "GET", &[], || also("content-length", "7")),
        ("length", "GET", &[], || {
            fresh("a body that is longer than what the layer stores")
        }),
        ("must-understand", "GET", &[], || {
            with(299, &[("cache-control", "max-age=60, must-understand")])
        }),
        ("no-lifetime", "GET", &[], || with(200, &[])),
        ("no-store", "GET", &[], || {
            with(200, &[("cache-control", "no-store")])
        }),
        ("not-modified", "GET", &[("if-none-match", "\"a\"")], || {
            lasting(304)
        }),
        ("partial-content", "GET", &[("range", "bytes=0-1")], || {
            lasting(206)
        }),
        ("precondition", "GET", &[], || lasting(412)),
        ("precondition", "GET", &[("range", "bytes=9-")], || {
            lasting(416)
        }),
        ("private", "GET", &[], || {
            with(200, &[("cache-control", "private, max-age=60")])
        }),
        ("set-cookie", "GET", &[], || also("set-cookie", "a=b")),
        ("status", "GET", &[], || lasting(404)),
        ("client-status", "GET", &[], || lasting(428)),
        ("client-status", "GET", &[], || lasting(429)),
        ("client-status", "GET", &[], || lasting(431)),
        ("client-status", "GET", &[], || lasting(511)),
        ("clear-site-data", "GET", &[], || {
            also("clear-site-data", "\"cache\"")
        }),
        ("too-many-tags", "GET", &[], || {
            let mut response = with(200, &[]);
            let tags = (0..129).map(|number| number.to_string());
            response
                .extensions_mut()
                .insert(CacheFor::secs(60).tags(tags));
            response
        }),
        ("vary-any", "GET", &[], || also("vary", "*")),
        ("vary-authorization", "GET", &[], || {
            also("vary", "accept, authorization")
        }),
        ("vary-cookie", "GET", &[], || also("vary", "Cookie")),
        ("bypass-when", "GET", &[("x-bypass", "1")], || lasting(200)),
        ("conditional", "GET", &[("if-match", "*")], || lasting(200)),
        ("content", "GET", &[("content-length", "5")], || {
            lasting(200)
        }),
        ("host", "GET", &[("host", "another.example")], || {
            lasting(200)
        }),
        ("upgrade", "GET", &[("upgrade", "websocket")], || {
            lasting(200)
        }),
    ];
    let codes = [200, 206, 299, 304, 412, 416, 428, 429, 431, 511];
    let codes = codes.map(|code| StatusCode::from_u16(code).expect("a status"));
    for (word, method, fields, answer) in CASES {
        let settings = |layer: CacheLayer| {
            let layer = layer.max_body(40).statuses(codes);
            layer.bypass_when(|parts| parts.headers.contains_key("x-bypass"))
        };
        let site = Site::with(settings, |_| answer()).await;
        for _ in 0..2 {
            let answer = site.send(request(method, "/", fields)).await;
            is_said(&answer, word);
        }
    }
}

#[tokio::test]
async fn what_the_cache_itself_has_no_room_for_has_a_word_too() {
    let site = Site::new(|_| also("vary", "x-kind")).await;
    for number in 0..32 {
        let answer = site.get("/", &[("x-kind", &number.to_string())]).await;
        assert!(status(&answer).is_stored());
    }
    is_said(
        &site.get("/", &[("x-kind", "32")]).await,
        "too-many-variants",
    );

    let origin = Origin::new(|_| lasting(200));
    let inner = CacheLayer::new(site.redis.clone()).layer(origin);
    let outer = CacheLayer::new(site.redis.clone()).layer(inner);
    let answer = outer.oneshot(request("GET", "/twice", &[])).await;
    let answer = answer.expect("an answer");
    assert_eq!(status(&answer).detail_word(), Some("inner-cache"));
}

/// In the field and in the extensions, and in the table of the documentation.
fn is_said(answer: &Response<bytes::Bytes>, word: &str) {
    let status = status(answer);
    assert!(!status.is_stored(), "{word}: {status}");
    assert_eq!(status.detail_word(), Some(word), "{status}");
    let line = answer.headers()["cache-status"].as_bytes();
    assert!(Parser::new(line).parse::<List>().is_ok(), "{line:?}");
    let text = std::str::from_utf8(line).expect("text");
    assert!(text.ends_with(&format!("; detail={word}")), "{text}");
    let table = include_str!("../../../../src/cache/rfc/cache_status.rs");
    assert!(table.contains(&format!("`{word}`")), "{word}");
}
