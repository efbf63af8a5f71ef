//! What names an entry, and what takes it out under all of its names.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{
        NestedPath, OriginalUri, RawPathParams,
        rejection::{NestedPathRejection, RawPathParamsRejection},
    },
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use http::{Method, Request, Uri, request::Parts};
use http_body_util::{BodyExt, Empty};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{CacheLayer, cache::CacheStatus};

use super::{Origin, Site, fresh, is_hit, reply, request, status, storing::entries};
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

/// Everything that a handler in a router sees of the URI.
async fn seen(
    uri: Uri,
    OriginalUri(original): OriginalUri,
    nested: Result<NestedPath, NestedPathRejection>,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Response {
    let nested = nested.as_ref().map_or("", NestedPath::as_str);
    let params: Vec<_> = params.iter().flatten().collect();
    let text = format!("{original} {uri} {nested} {params:?}");
    ([("cache-control", "max-age=3600")], text).into_response()
}

/// A router with a cache inside, if there is to be one.
fn inner(layer: Option<&CacheLayer>) -> Router {
    let router = Router::new()
        .route("/home", any(seen))
        .route("/{a}/home", any(seen))
        .fallback(seen);
    match layer {
        Some(layer) => router.layer(layer.clone()),
        None => router,
    }
}

/// Puts `uri` in the place of each request's URI, with `TENANT` for what a field says, before `router` chooses a route.
fn behind(uri: &'static str, router: Router) -> Router {
    let rewrite = from_fn(move |mut request: axum::extract::Request, next: Next| {
        let tenant = request.headers()["x-tenant"].to_str().expect("ASCII");
        *request.uri_mut() = uri.replace("TENANT", tenant).parse().expect("a URI");
        next.run(request)
    });
    Router::new().fallback_service(router).layer(rewrite)
}

/// How a router is put together, and what is asked of it.
type Way = (&'static str, fn(Router) -> Router);

/// Where what a client sent is not what a handler sees.
const REWRITTEN: [Way; 13] = [
    ("/home", |inner| behind("/t/TENANT/home", inner)),
    ("/home", |inner| behind("/home?tenant=TENANT", inner)),
    ("/home?a", |inner| behind("/home?TENANT", inner)),
    ("/home", |inner| behind("http://TENANT.test/home", inner)),
    ("/home", |inner| {
        behind("/t/TENANT/home", Router::new().nest("/t/{tenant}", inner))
    }),
    ("/home", |inner| {
        let router = Router::new().nest("/ann", inner.clone());
        behind("/TENANT/home", router.nest("/bob", inner))
    }),
    ("/shop/home", |inner| {
        Router::new().nest("/shop", behind("/TENANT/home", inner))
    }),
    ("/shop/home", |inner| {
        let tenants = Router::new().nest("/t/{tenant}", inner);
        Router::new().nest("/shop", behind("/t/TENANT/home", tenants))
    }),
    // As if a nested router had left it of the original.
    ("/t/eve/home", |inner| {
        behind("/t/TENANT/home", Router::new().nest("/t/{tenant}", inner))
    }),
    ("/x/y/home", |inner| {
        behind("/t/TENANT/home", Router::new().nest("/t/{tenant}", inner))
    }),
    ("/home", |inner| {
        behind("/first/home", behind("/t/TENANT/home", inner))
    }),
    ("/home", |inner| {
        let tenants = Router::new().nest("/s/{tenant}/{more}", inner);
        behind("/t/TENANT", behind("/s/TENANT/x/home", tenants))
    }),
    ("/t/x/a/home", |inner| {
        let tenants = Router::new().nest("/x/{tenant}", inner);
        Router::new().nest("/t", behind("/x/TENANT/home", tenants))
    }),
];

/// Where it is: nothing is put in, or only a prefix is taken off.
const AS_SENT: [Way; 6] = [
    ("/home", |inner| inner),
    ("/shop/home?a=b", |inner| Router::new().nest("/shop", inner)),
    ("/shop", |inner| Router::new().nest("/shop", inner)),
    ("/a/b/home", |inner| {
        Router::new().nest("/a", Router::new().nest("/b", inner))
    }),
    ("/t/a%20b/home", |inner| {
        Router::new().nest("/t/{tenant}", inner)
    }),
    ("/a/home", |inner| {
        Router::new().nest_service("/{tenant}", inner)
    }),
];

async fn ask(router: &Router, method: &str, path: &str, tenant: &str) -> (bool, Bytes) {
    let request = request(method, path, &[("x-tenant", tenant)]);
    let response = router.clone().oneshot(request).await.expect("an answer");
    let status = response.extensions().get::<CacheStatus>();
    let is_hit = status.is_some_and(CacheStatus::is_hit);
    let body = response.into_body().collect().await.expect("a body");
    (is_hit, body.to_bytes())
}

/// Asks until the cache answers, and sees that it is always the same.
async fn until_hit(router: &Router, path: &str, tenant: &str, expected: &Bytes) {
    for _ in 0..1000 {
        let (is_hit, body) = ask(router, "GET", path, tenant).await;
        assert_eq!(body, expected);
        if is_hit {
            return;
        }
    }
    panic!("no hit for {path}");
}

/// `OriginalUri` hid what a layer had made of the URI, so that tenants shared an entry.
#[tokio::test]
async fn what_a_layer_makes_of_a_uri_is_in_the_key() {
    let server = Server::shared();
    for (at, (path, way)) in REWRITTEN.into_iter().enumerate() {
        let layer = CacheLayer::new(server.redis().await);
        let (plain, router) = (way(inner(None)), way(inner(Some(&layer))));
        let mut own = Vec::new();
        for tenant in ["ann", "bob"] {
            let (_, body) = ask(&plain, "GET", path, tenant).await;
            until_hit(&router, path, tenant, &body).await;
            own.push(body);
        }
        assert_ne!(own[0], own[1], "{at}");
        for (tenant, body) in ["ann", "bob"].into_iter().zip(&own) {
            assert_eq!(
                ask(&router, "GET", path, tenant).await,
                (true, body.clone()),
                "{at}"
            );
        }
        // They are one to the client's eyes, and so to changes and purges.
        ask(&router, "POST", path, "ann").await;
        for tenant in ["ann", "bob"] {
            assert!(!ask(&router, "GET", path, tenant).await.0, "{at}");
        }
    }
}

#[tokio::test]
async fn what_nested_routers_leave_of_a_uri_adds_nothing_to_the_key() {
    let server = Server::shared();
    for (path, way) in AS_SENT {
        let layer = CacheLayer::new(server.redis().await);
        let router = way(inner(Some(&layer)));
        let (_, body) = ask(&way(inner(None)), "GET", path, "ann").await;
        until_hit(&router, path, "ann", &body).await;
        // A cache outside finds what the one inside has stored: both file it under the same key.
        let outer = Router::new()
            .fallback_service(inner(None))
            .layer(layer.clone());
        assert_eq!(
            ask(&outer, "GET", path, "bob").await,
            (true, body),
            "{path}"
        );
    }
}
