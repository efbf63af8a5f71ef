//! What a shared cache is attacked with. The numbers are those of the list of threats; those that other files prove are
//! named at the end.

use std::time::Duration;

use axum::body::Body;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use tower_fred::{CacheLayer, fred::interfaces::KeysInterface};

use crate::cache::{Site, custom, field, fresh, is_hit, reply, request, status};

fn echo(parts: &http::request::Parts, name: &str) -> String {
    let value = parts.headers.get(name);
    value.map_or_else(String::new, |value| {
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    })
}

/// 1: a field that is not in the key changes the answer.
#[tokio::test]
async fn fields_outside_the_key_poison_nobody() {
    for name in [
        "x-forwarded-host",
        "x-forwarded-scheme",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-host",
        "x-original-url",
        "x-rewrite-url",
        "x-http-method-override",
    ] {
        let site = Site::new(move |parts| fresh(echo(parts, name))).await;
        let evil = [(name, "evil")];
        assert_eq!(site.get("/", &evil).await.body(), "evil");
        assert_eq!(site.get("/", &[]).await.body(), "", "{name}");
        let again = site.get("/", &[]).await;
        assert!(is_hit(&again) && again.body().is_empty(), "{name}");
    }
}

/// 2: look-alike keys.
#[tokio::test]
async fn look_alike_requests_have_their_own_answers() {
    let site = Site::new(|parts| fresh(parts.uri.to_string())).await;
    for path in [
        "/?a=B=",
        "/?a%3DB=",
        "/a",
        "/%61",
        "/a/",
        "//a",
        "/a?",
        "/a?b",
        "/a%3Fb",
        "/A",
        "/a;x",
        "/a/..%2fb",
    ] {
        let first = site.get(path, &[]).await;
        assert!(!is_hit(&first) && first.body() == path, "{path}");
        assert_eq!(site.get(path, &[]).await.body(), path);
    }
}

/// 3: a path that looks like a file of another kind.
#[tokio::test]
async fn an_extension_makes_nothing_public() {
    let lenient = |layer: CacheLayer| layer.ttl(Duration::from_secs(60));
    let site = Site::with(lenient, |_| reply(&[("cache-control", "private")], "mine")).await;
    for path in [
        "/account/x.css",
        "/account;x.js",
        "/account%2fx.png",
        "/account/..",
    ] {
        site.get(path, &[]).await;
        assert!(!is_hit(&site.get(path, &[]).await), "{path}");
    }
}

/// 5: somebody's own answer, with whatever the handler forgot to say.
#[tokio::test]
async fn what_credentials_got_stays_with_them() {
    let site = Site::new(|parts| fresh(echo(parts, "authorization"))).await;
    let names: Vec<String> = (0..200).map(|number| format!("Bearer {number}")).collect();
    let fields: Vec<_> = names
        .iter()
        .map(|name| [("authorization", name.as_str())])
        .collect();
    let answers = join_all(fields.iter().map(|fields| site.get("/", fields))).await;
    for (name, answer) in names.iter().zip(answers) {
        assert_eq!(answer.body(), name);
    }
    assert_eq!(site.get("/", &[]).await.body(), "");
}

/// 7: what is of one exchange only.
#[tokio::test]
async fn fields_of_one_exchange_are_not_replayed() {
    let site = Site::new(|_| {
        let fields = [
            ("cache-control", "max-age=60"),
            ("x-request-id", "1"),
            ("server-timing", "db;dur=1"),
            ("traceparent", "00-1-2-01"),
            ("x-ratelimit-remaining", "7"),
        ];
        reply(&fields, "x")
    })
    .await;
    let first = site.get("/", &[]).await;
    let hit = site.get("/", &[]).await;
    assert!(is_hit(&hit));
    for name in [
        "x-request-id",
        "server-timing",
        "traceparent",
        "x-ratelimit-remaining",
    ] {
        assert!(
            field(&first, name).is_some() && field(&hit, name).is_none(),
            "{name}"
        );
    }
}

/// 9: an answer that only a strange request gets.
#[tokio::test]
async fn strange_requests_break_no_page() {
    let lenient = |layer: CacheLayer| layer.ttl(Duration::from_secs(60));
    let site = Site::with(lenient, |parts| {
        let mut response = reply(&[], "fine");
        let code = parts
            .headers
            .get("x-code")
            .map(|code| code.to_str().expect("ASCII").parse());
        if let Some(Ok(code)) = code {
            *response.status_mut() = StatusCode::from_u16(code).expect("a status");
        }
        response
    })
    .await;
    for code in ["400", "406", "413", "416", "431", "500", "501"] {
        site.get("/", &[("x-code", code)]).await;
        let plain = site.get("/", &[]).await;
        assert_eq!(
            (plain.status().as_u16(), plain.body().as_ref()),
            (200, &b"fine"[..]),
            "{code}"
        );
        site.layer.purge().all().await.expect("purged");
    }
    site.send(request("HEAD", "/head", &[])).await;
    assert_eq!(site.get("/head", &[]).await.body(), "fine");
}

/// 10: as many entries as an attacker likes.
#[tokio::test]
async fn variants_are_limited_and_everything_expires() {
    let site = Site::new(|_| {
        reply(
            &[("cache-control", "max-age=60"), ("vary", "accept-language")],
            "x",
        )
    })
    .await;
    for number in 0..200 {
        let language = format!("x-{number}");
        site.get("/", &[("accept-language", &language)]).await;
    }
    let keys = site.keys().await;
    assert!((2..=33).contains(&keys.len()), "{}", keys.len());
    for number in 0..100 {
        site.get(&format!("/?{number}"), &[]).await;
    }
    let admin = site.server.admin().await;
    let pattern = format!("{}:*", site.redis.namespace());
    let all: Vec<String> = custom(&admin, "KEYS", vec![pattern.into()]).await;
    assert!(all.len() > 100);
    for key in all {
        let left: i64 = admin.pttl(&key).await.expect("PTTL");
        // Gone meanwhile, or with an end.
        assert!(left != -1, "{key}");
    }
}

/// 11: purging by who may not.
#[tokio::test]
async fn clients_purge_nothing() {
    let site = Site::new(|parts| match parts.method.as_str() {
        "GET" => fresh("x"),
        _ => {
            let mut response = reply(&[("cache-group-invalidation", "\"all\"")], "");
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response
        }
    })
    .await;
    site.get("/", &[]).await;
    for (method, name) in [
        ("PURGE", "x"),
        ("BAN", "x-invalidate-cache"),
        ("GET", "cache-group-invalidation"),
    ] {
        site.send(request(method, "/", &[(name, "\"*\"")])).await;
        assert!(is_hit(&site.get("/", &[]).await), "{method}");
    }
    for tag in ["*", "\r\n", "", "a b"] {
        site.layer.purge().tag(tag).await.expect("purged");
        assert!(is_hit(&site.get("/", &[]).await), "{tag}");
    }
}

/// 14: nothing of a request is in the fields of an answer.
#[tokio::test]
async fn requests_write_no_fields() {
    let site = Site::new(|_| fresh("x")).await;
    let path = "/?a=%0d%0aSet-Cookie:%20x=y";
    for _ in 0..2 {
        let answer = site.get(path, &[("x-a", "zzz-marker")]).await;
        let all = format!("{:?}", answer.headers());
        assert!(!all.contains("Set-Cookie") && !all.contains("zzz-marker") && !all.contains("%0d"));
    }
}

/// 16: who has asked before is told to nobody who must not know.
#[tokio::test]
async fn the_status_can_be_silent() {
    let site = Site::with(CacheLayer::no_cache_status, |_| fresh("x")).await;
    site.get("/", &[]).await;
    let hit = site.get("/", &[]).await;
    assert!(is_hit(&hit));
    assert_eq!(field(&hit, "cache-status"), None);
}

/// 17: clients that force the handler to run.
#[tokio::test]
async fn clients_force_nothing_where_they_are_ignored() {
    let site = Site::with(CacheLayer::ignore_client_directives, |_| fresh("x")).await;
    for _ in 0..100 {
        site.get(
            "/",
            &[("cache-control", "no-cache"), ("pragma", "no-cache")],
        )
        .await;
    }
    assert_eq!(site.calls(), 1);
}

/// 19: a stale answer that is taken for a fresh one further out.
#[tokio::test]
async fn what_is_stale_says_so() {
    let site = Site::new(|_| {
        reply(
            &[("cache-control", "max-age=10, stale-while-revalidate=60")],
            "x",
        )
    })
    .await;
    site.get("/", &[]).await;
    crate::cache::travel(&site.server, &site.redis, Duration::from_secs(20)).await;
    let stale = site.get("/", &[]).await;
    let age: u64 = field(&stale, "age")
        .expect("Age")
        .parse()
        .expect("a number");
    assert!(is_hit(&stale) && age >= 10);
    assert!(status(&stale).to_string().contains("ttl=-"));
}

/// 4: a host that is not ours has entries of its own, and a request that names two is left alone.
#[tokio::test]
async fn hosts_do_not_mix() {
    let site = Site::new(|parts| fresh(echo(parts, "host"))).await;
    let to = |host: &str| {
        Request::get("/")
            .header("host", host)
            .body(Body::empty())
            .expect("a request")
    };
    assert_eq!(site.send(to("evil.example")).await.body(), "evil.example");
    assert_eq!(site.send(to("shop.example")).await.body(), "shop.example");
    assert_eq!(site.send(to("evil.example")).await.body(), "evil.example");
    assert_eq!(site.calls(), 2);
}

// 6 (cookies, also by waiting): `isolation`, `flight::what_is_not_storable_is_given_to_nobody_else_and_holds_nobody_up`.
// 8 (CORS): `isolation::origins_are_kept_apart`. 12 and 13 (hostile values): the entry codec's property tests, `faults`.
// 15 (secrets at rest): `isolation::nothing_of_a_request_is_in_redis`. 18 (races of the near tier): the store's tests.
// 20 (broken bodies): `bodies`, `flight`. 21 (a Redis that others use): `least_privilege`.
