//! What names an entry, and what takes it out under all of its names.

use std::{convert::Infallible, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Uri, request::Parts};
use http_body_util::{BodyExt, Empty};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{CacheLayer, cache::CacheStatus};

use crate::cache::{Origin, Site, entries, fresh, is_hit, reply, request, status};
use crate::support::{
    Server,
    http::{Http2, HttpServer},
    topology::Cluster,
};

/// What a handler may make links of.
fn names(uri: &Uri, parts: &Parts) -> String {
    let host = parts
        .headers
        .get("host")
        .map(|host| host.to_str().expect("ASCII"));
    format!("{uri} {host:?}")
}

fn asked(method: &str, uri: &str, host: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(uri);
    if let Some(host) = host {
        request = request.header("host", host);
    }
    request.body(Body::empty()).expect("a request")
}

/// Forms of one URI (RFC 9110 §4.2.3), that of the target and that of `Host`.
const FORMS: [(&str, Option<&str>); 16] = [
    ("/~ann", Some("shop.test")),
    ("/~ann", Some("shop.test:80")),
    ("/~ann", Some("shop.test:443")),
    ("/~ann", Some("shop.test:")),
    ("/%7Eann", Some("shop.test")),
    ("/%7eann", Some("shop.test:80")),
    ("/~%61nn", Some("shop.test")),
    ("/./~ann", Some("shop.test")),
    ("/x/../~ann", Some("shop.test")),
    ("/x/%2e%2E/~ann", Some("shop.test")),
    ("http://shop.test/~ann", None),
    ("http://shop.test:80/~ann", None),
    ("https://shop.test:443/~ann", None),
    ("http://shop.test/~ann", Some("shop.test")),
    ("http://shop.test:80/~ann", Some("shop.test")),
    ("http://shop.test/~ann", Some("shop.test:80")),
];

/// The port was dropped from an authority, so that links with `:80` were served to those who had not said it, and a change
/// under one form left the entries of the others.
#[tokio::test]
async fn forms_of_one_uri_are_kept_apart_and_outdated_together() {
    let site = Site::new(|parts| match parts.method {
        Method::GET => fresh(names(&parts.uri, parts)),
        _ => reply(&[], ""),
    })
    .await;
    for (uri, host) in FORMS {
        let own = names(
            &uri.parse().expect("a URI"),
            &asked("GET", uri, host).into_parts().0,
        );
        let first = site.send(asked("GET", uri, host)).await;
        assert!(!is_hit(&first) && first.body() == &own, "{uri} {host:?}");
    }
    let are_all = async |expected: bool, after: &str| {
        for (uri, host) in FORMS {
            let answer = site.send(asked("GET", uri, host)).await;
            assert_eq!(is_hit(&answer), expected, "{uri} {host:?} after {after}");
        }
    };
    are_all(true, "nothing").await;
    assert!(is_hit(
        &site.send(asked("GET", "/~ann", Some("Shop.TEST"))).await
    ));
    for (uri, host) in FORMS {
        site.send(asked("POST", uri, host)).await;
        are_all(false, &format!("POST {uri} {host:?}")).await;
        are_all(true, "nothing").await;
    }
    for url in [
        "http://shop.test/~ann",
        "https://SHOP.test:443/%7Eann",
        "shop.test:80",
    ] {
        let url = match url {
            "shop.test:80" => "http://shop.test:80/a/../%7eann".parse(),
            url => url.parse(),
        };
        site.layer
            .purge()
            .url(&url.expect("a URL"))
            .await
            .expect("purged");
        are_all(false, "a purge").await;
    }
    // What is reserved is another resource encoded.
    site.send(asked("POST", "/%2F~ann", Some("shop.test")))
        .await;
    site.send(asked("POST", "/~ann", Some("shop.test:8080")))
        .await;
    site.send(asked("POST", "/~ann?", Some("shop.test"))).await;
    are_all(true, "changes elsewhere").await;
}

#[tokio::test]
async fn what_an_answer_refers_to_is_outdated_in_all_forms() {
    for name in ["location", "content-location"] {
        for reference in [
            "/~ann",
            "%7eann",
            "//shop.test:80/~ann",
            "https://SHOP.test/x/../%7Eann#top",
            "http://shop.test:80/%7e%61nn",
        ] {
            let site = Site::new(move |parts| match parts.method {
                Method::GET => fresh("x"),
                _ => reply(&[(name, reference)], ""),
            })
            .await;
            for (uri, host) in FORMS {
                site.send(asked("GET", uri, host)).await;
            }
            site.send(asked("POST", "/people", Some("shop.test:443")))
                .await;
            for (uri, host) in FORMS {
                let answer = site.send(asked("GET", uri, host)).await;
                assert!(!is_hit(&answer), "{uri} {host:?} after {name}: {reference}");
            }
        }
    }
}

/// The handler may believe either host, so that a read is left alone and a change is one of both.
#[tokio::test]
async fn a_request_with_two_hosts_is_never_stored_and_changes_both() {
    let site = Site::new(|parts| match parts.method {
        Method::GET => fresh(names(&parts.uri, parts)),
        _ => reply(&[], ""),
    })
    .await;
    let torn = |method| asked(method, "http://a.test/", Some("b.test"));
    let plain = async |host| is_hit(&site.send(asked("GET", "/", Some(host))).await);
    for host in ["a.test", "b.test", "c.test"] {
        assert!(!plain(host).await && plain(host).await);
    }
    let read = site.send(torn("GET")).await;
    assert_eq!(status(&read).to_string(), "fwd=bypass; detail=host");
    assert!(plain("a.test").await && plain("b.test").await);
    site.send(torn("POST")).await;
    assert!(!plain("a.test").await && !plain("b.test").await && plain("c.test").await);
}

#[tokio::test]
async fn authorities_of_http_2_are_kept_apart() {
    let shared = Server::shared();
    let redis = shared.redis().await;
    let handler = service_fn(|request: Request<hyper::body::Incoming>| async move {
        let (parts, _) = request.into_parts();
        let response = http::Response::builder().header("cache-control", "max-age=3600");
        let body = http_body_util::Full::<Bytes>::from(names(&parts.uri, &parts));
        Ok::<_, Infallible>(response.body(body).expect("a response"))
    });
    let server = HttpServer::hyper(CacheLayer::new(redis).layer(handler)).await;
    let mut client = Http2::connect(&server).await;
    let raw = async |head: &str| {
        let mut stream = TcpStream::connect(server.address())
            .await
            .expect("connected");
        let all = format!("{head}\r\nConnection: close\r\n\r\n");
        stream.write_all(all.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        answer
    };
    for _ in 0..10 {
        for uri in [
            "http://shop.test/a",
            "http://shop.test:80/a",
            "https://shop.test/a",
            "http://shop.test:443/a",
        ] {
            let get = Request::get(uri)
                .body(Empty::new().boxed())
                .expect("a request");
            assert_eq!(client.send(get).await.body(), &format!("{uri} None"));
        }
        for (head, seen) in [
            (
                "GET /a HTTP/1.1\r\nHost: shop.test",
                "/a Some(\"shop.test\")",
            ),
            (
                "GET /a HTTP/1.1\r\nHost: shop.test:80",
                "/a Some(\"shop.test:80\")",
            ),
            (
                "GET http://shop.test:80/a HTTP/1.1\r\nHost: shop.test",
                "http://shop.test:80/a Some(\"shop.test\")",
            ),
            (
                "GET http://evil.test/a HTTP/1.1\r\nHost: shop.test",
                "http://evil.test/a Some(\"shop.test\")",
            ),
        ] {
            let answer = raw(head).await;
            assert!(answer.ends_with(seen), "{head}: {answer}");
        }
    }
}

/// Keys of one resource lie in many slots, and are purged by one record.
#[tokio::test]
async fn a_cluster_purges_all_forms_and_variants() {
    let cluster = Cluster::start().await;
    let redis = cluster.redis().await;
    let origin = Origin::new(|parts| match parts.method {
        Method::GET => reply(
            &[("cache-control", "max-age=3600"), ("vary", "accept")],
            "x",
        ),
        _ => reply(&[], ""),
    });
    let layer = CacheLayer::new(redis);
    let send = async |request: Request<Body>| {
        let response = layer.layer(origin.clone()).oneshot(request).await;
        let response = response.expect("an answer");
        let status: CacheStatus = status(&response);
        response.into_body().collect().await.expect("a body");
        status
    };
    let all = |uri, host| {
        let plain = asked("GET", uri, host);
        let mut varied = asked("GET", uri, host);
        varied
            .headers_mut()
            .insert("accept", "a/b".parse().expect("a value"));
        let mut odd = asked("GET", uri, host);
        odd.headers_mut()
            .insert("x-forwarded-host", "evil".parse().expect("a value"));
        [plain, varied, odd]
    };
    for (uri, host) in FORMS {
        for at in 0..3 {
            let mut is_hit = false;
            while !is_hit {
                let [plain, varied, odd] = all(uri, host);
                is_hit = send([plain, varied, odd].into_iter().nth(at).expect("one"))
                    .await
                    .is_hit();
            }
        }
    }
    send(asked("POST", "/%7Eann", Some("shop.test:80"))).await;
    for (uri, host) in FORMS {
        for request in all(uri, host) {
            assert!(!send(request).await.is_hit(), "{uri} {host:?}");
        }
    }
}

/// One request with such a field turned a hot entry into a list, with two commands a hit for everybody.
#[tokio::test]
async fn odd_fields_slow_nobody_else() {
    let server = Arc::new(Server::start());
    for name in [
        "x-forwarded-host",
        "x-forwarded-proto",
        "forwarded",
        "x-original-url",
        "x-http-method-override",
    ] {
        for is_first in [true, false] {
            let site = Site::on(
                server.clone(),
                |layer| layer,
                move |parts| {
                    let value = parts
                        .headers
                        .get(name)
                        .map(|value| value.to_str().expect("ASCII"));
                    fresh(value.unwrap_or_default().to_owned())
                },
            )
            .await;
            let odd = [(name, "host=evil")];
            if is_first {
                site.get("/", &odd).await;
            }
            site.get("/", &[]).await;
            for number in 0..3 {
                let value = format!("host=evil{number}");
                assert_eq!(site.get("/", &[(name, &value)]).await.body(), &value);
            }
            site.get("/", &odd).await;
            let (counts, plain) = server.count(site.get("/", &[])).await;
            assert!(is_hit(&plain) && plain.body().is_empty(), "{name}");
            assert_eq!(entries(&counts), [1, 0, 0, 0], "{name}: {counts:?}");
            let (counts, own) = server.count(site.get("/", &odd)).await;
            assert!(is_hit(&own) && own.body() == "host=evil", "{name}");
            assert_eq!(entries(&counts), [1, 0, 0, 0], "{name}: {counts:?}");
            // A change is one for all of them.
            site.send(request("POST", "/", &[])).await;
            for fields in [&odd[..], &[]] {
                assert!(!is_hit(&site.get("/", fields).await), "{name}");
            }
        }
    }
}

/// So do requests that a policy keeps apart: nobody needs a list.
#[tokio::test]
async fn what_a_policy_keeps_apart_is_one_command_too() {
    let server = Arc::new(Server::start());
    let by = |layer: CacheLayer| {
        let layer = layer.vary_by_header(http::HeaderName::from_static("x-tenant"));
        layer.vary_by_query(["page"]).vary_by_cookie("theme")
    };
    let site = Site::on(server.clone(), by, |_| fresh("x")).await;
    for tenant in ["a", "b"] {
        site.get("/?page=1", &[("x-tenant", tenant)]).await;
        let (counts, hit) = server
            .count(site.get("/?page=1", &[("x-tenant", tenant)]))
            .await;
        assert!(is_hit(&hit));
        assert_eq!(entries(&counts), [1, 0, 0, 0], "{counts:?}");
    }
    site.send(request("POST", "/?page=7", &[])).await;
    assert!(!is_hit(&site.get("/?page=1", &[("x-tenant", "a")]).await));
}
