use axum::body::Body;
use futures_util::future::join_all;
use http::Request;

use crate::cache::{Site, field, fresh, is_hit, reply, request};

/// Sends what one client sends, then asks as another, and sees that the handler answers.
async fn is_not_shared(response: &'static [(&str, &str)], one: &[(&str, &str)]) {
    let site = Site::with(
        |layer| layer.ttl(std::time::Duration::from_secs(60)),
        move |parts| {
            let who = parts
                .headers
                .get("x-who")
                .map_or("nobody", |who| who.to_str().expect("ASCII"));
            reply(response, who.to_owned())
        },
    )
    .await;
    let first = site.get("/me", &[one, &[("x-who", "ann")]].concat()).await;
    assert_eq!(first.body(), "ann");
    let second = site.get("/me", &[("x-who", "bob")]).await;
    assert_eq!(second.body(), "bob", "{response:?}");
    assert!(site.keys().await.is_empty() || one.is_empty() || !is_hit(&second));
}

#[tokio::test]
async fn personal_answers_reach_nobody_else() {
    is_not_shared(
        &[("cache-control", "max-age=60"), ("set-cookie", "sid=1")],
        &[],
    )
    .await;
    is_not_shared(
        &[
            ("cache-control", "max-age=60, public, s-maxage=60"),
            ("set-cookie", "sid=1"),
        ],
        &[],
    )
    .await;
    is_not_shared(
        &[
            ("cache-control", "max-age=60, no-cache=\"set-cookie\""),
            ("set-cookie", "sid=1"),
        ],
        &[],
    )
    .await;
    is_not_shared(&[("cache-control", "private, max-age=60")], &[]).await;
    is_not_shared(
        &[
            ("cache-control", "PRIVATE"),
            ("cache-control", "s-maxage=60"),
        ],
        &[],
    )
    .await;
    is_not_shared(&[("cache-control", "no-store")], &[]).await;
    is_not_shared(&[("cache-control", "max-age=60, x=\"open, private")], &[]).await;
    is_not_shared(&[("vary", "x-who"), ("cache-control", "max-age=60")], &[]).await;
    is_not_shared(&[("vary", "*")], &[]).await;
    is_not_shared(
        &[("cache-control", "max-age=60")],
        &[("authorization", "Bearer a")],
    )
    .await;
    is_not_shared(&[("etag", "\"1\"")], &[("authorization", "Bearer a")]).await;
    is_not_shared(
        &[("cache-control", "max-age=60")],
        &[("cache-control", "no-store")],
    )
    .await;
}

#[tokio::test]
async fn concurrent_clients_get_their_own_cookies() {
    let site = Site::new(|parts| {
        let who = parts.headers["x-who"].to_str().expect("ASCII");
        reply(
            &[("cache-control", "max-age=60"), ("set-cookie", who)],
            who.to_owned(),
        )
    })
    .await;
    let names: Vec<String> = (0..50).map(|number| format!("sid={number}")).collect();
    let fields: Vec<_> = names
        .iter()
        .map(|name| [("x-who", name.as_str())])
        .collect();
    let answers = join_all(fields.iter().map(|fields| site.get("/me", fields))).await;
    for (name, answer) in names.iter().zip(answers) {
        assert_eq!(answer.body(), name);
        assert_eq!(field(&answer, "set-cookie"), Some(name.as_str()));
    }
    assert!(site.keys().await.is_empty());
}

#[tokio::test]
async fn hosts_are_kept_apart() {
    let site = Site::new(|parts| {
        let host = parts.headers.get("host").or(parts.headers.get("x-host"));
        fresh(host.expect("a host").to_str().expect("ASCII").to_owned())
    })
    .await;
    let of = |host: &str| {
        Request::get("/")
            .header("host", host)
            .body(Body::empty())
            .expect("a request")
    };
    for host in ["a.example", "b.example", "a.example:8080"] {
        assert_eq!(site.send(of(host)).await.body(), host);
    }
    assert!(is_hit(&site.send(of("A.example")).await));
    // A handler may make links of what is written, port and all.
    assert_eq!(site.send(of("a.example:80")).await.body(), "a.example:80");
    // And of what is no host, which was once filed under what comes after the at sign.
    for host in [
        "evil.example/@a.example",
        "evil.example?@a.example",
        "u@a.example",
    ] {
        assert_eq!(site.send(of(host)).await.body(), host);
        assert_eq!(
            site.send(of("a.example")).await.body(),
            "a.example",
            "after {host}"
        );
    }
    // A purge of the URL takes all of its spellings.
    let url = "http://a.example/".parse().expect("a URL");
    site.layer.purge().url(&url).await.expect("purged");
    assert!(!is_hit(&site.send(of("a.example:80")).await));
    assert!(!is_hit(&site.send(of("a.example")).await));

    // Whom the handler believes is not known.
    let torn = || {
        let request = Request::get("http://a.example/").header("host", "evil.example");
        request.body(Body::empty()).expect("a request")
    };
    let calls = site.calls();
    site.send(torn()).await;
    site.send(torn()).await;
    assert_eq!(site.calls(), calls + 2);
    assert_eq!(site.send(of("a.example")).await.body(), "a.example");
}

#[tokio::test]
async fn origins_are_kept_apart() {
    let site = Site::new(|parts| {
        let origin = parts.headers["origin"].to_str().expect("ASCII");
        reply(
            &[
                ("cache-control", "max-age=60"),
                ("access-control-allow-origin", origin),
            ],
            "x",
        )
    })
    .await;
    for origin in [
        "https://a.example",
        "https://b.example",
        "https://a.example",
    ] {
        let answer = site.get("/", &[("origin", origin)]).await;
        assert_eq!(field(&answer, "access-control-allow-origin"), Some(origin));
    }
    assert_eq!(site.calls(), 2);
}

#[tokio::test]
async fn nothing_of_a_request_is_in_redis() {
    let secret = "s3cr3t-0f-4nn";
    let site = Site::new(|_| {
        reply(
            &[("cache-control", "max-age=60, public"), ("vary", "foo")],
            "x",
        )
    })
    .await;
    site.get(
        &format!("/a?token={secret}"),
        &[
            ("authorization", secret),
            ("cookie", secret),
            ("foo", secret),
        ],
    )
    .await;
    let admin = site.server.admin().await;
    let keys = site.keys().await;
    assert_eq!(keys.len(), 2);
    for key in keys {
        use tower_fred::fred::interfaces::KeysInterface;
        let value: bytes::Bytes = admin.get(&key).await.expect("GET");
        let found = |text: &[u8]| {
            text.windows(secret.len())
                .any(|part| part == secret.as_bytes())
        };
        assert!(!found(key.as_bytes()) && !found(&value));
    }
}

#[tokio::test]
async fn purging_is_not_for_clients() {
    let site = Site::new(|parts| match parts.method.as_str() {
        "GET" => fresh("x"),
        _ => axum::response::IntoResponse::into_response(http::StatusCode::METHOD_NOT_ALLOWED),
    })
    .await;
    site.get("/a", &[]).await;
    site.send(request("PURGE", "/a", &[("x-invalidate-cache", "1")]))
        .await;
    assert!(is_hit(&site.get("/a", &[]).await));
}
