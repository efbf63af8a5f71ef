use std::time::Duration;

use axum::{Json, Router, routing::get};
use http::{HeaderName, Method, StatusCode, header};
use tower::{Layer, ServiceExt};
use tower_fred::{
    CacheLayer,
    cache::{CacheFor, NoCache, Purge},
};

use crate::cache::{Origin, Site, field, fresh, is_hit, patient, reply, request, status};
use crate::support::{Server, http::HttpServer};

const MINUTE: Duration = Duration::from_secs(60);

/// Whether the second of two requests is answered with the first one's answer.
async fn shares(site: &Site, one: (&str, &[(&str, &str)]), other: (&str, &[(&str, &str)])) -> bool {
    site.get(one.0, one.1).await;
    is_hit(&site.get(other.0, other.1).await)
}

#[tokio::test]
async fn fields_can_be_in_the_key() {
    let by = |layer: CacheLayer| layer.vary_by_header(HeaderName::from_static("x-tenant"));
    let site = Site::with(by, |_| fresh("x")).await;
    assert!(
        !shares(
            &site,
            ("/a", &[("x-tenant", "a")]),
            ("/a", &[("x-tenant", "b")])
        )
        .await
    );
    assert!(!shares(&site, ("/b", &[("x-tenant", "a")]), ("/b", &[])).await);
    assert!(
        shares(
            &site,
            ("/c", &[("x-tenant", "a")]),
            ("/c", &[("x-tenant", "a"), ("y", "z")])
        )
        .await
    );
    // Also when the answer says the same.
    let site = Site::with(by, |_| {
        reply(
            &[("cache-control", "max-age=60"), ("vary", "x-tenant")],
            "x",
        )
    })
    .await;
    assert!(
        !shares(
            &site,
            ("/a", &[("x-tenant", "a")]),
            ("/a", &[("x-tenant", "b")])
        )
        .await
    );
    assert!(is_hit(&site.get("/a", &[("x-tenant", "a")]).await));
}

#[tokio::test]
async fn only_named_parameters_are_in_the_key() {
    let by = |layer: CacheLayer| layer.vary_by_query(["page"]);
    let site = Site::with(by, |parts| match parts.method {
        Method::GET => fresh(parts.uri.query().unwrap_or_default().to_owned()),
        _ => reply(&[], ""),
    })
    .await;
    assert!(shares(&site, ("/a?page=1&utm=x", &[]), ("/a?utm=y&page=1", &[])).await);
    assert!(!shares(&site, ("/a?page=1", &[]), ("/a?page=2", &[])).await);
    assert!(!shares(&site, ("/a?page=1", &[]), ("/a?p%61ge=3&page=1", &[])).await);
    assert!(is_hit(&site.get("/a?page=1&more", &[]).await));
    // A change of the path is one of all its pages.
    site.send(request("POST", "/a?page=7", &[])).await;
    for page in ["/a?page=1", "/a?page=2"] {
        assert!(!is_hit(&site.get(page, &[]).await), "{page}");
    }
}

#[tokio::test]
async fn cookies_can_be_in_the_key() {
    let by = |layer: CacheLayer| layer.vary_by_cookie("theme");
    let varying = |_: &_| reply(&[("cache-control", "max-age=60"), ("vary", "cookie")], "x");
    let site = Site::with(by, varying).await;
    let dark = [("cookie", "sid=1; theme=dark")];
    assert!(!shares(&site, ("/a", &dark), ("/a", &[("cookie", "theme=light")])).await);
    assert!(is_hit(
        &site.get("/a", &[("cookie", "sid=2; theme=dark")]).await
    ));
    // Without it such answers are not stored.
    let site = Site::new(varying).await;
    assert!(!shares(&site, ("/a", &dark), ("/a", &dark)).await);
}

#[tokio::test]
async fn values_can_be_in_the_key() {
    let by = |layer: CacheLayer| {
        layer.vary_by_value(|parts| {
            let agent = parts.headers.get("user-agent");
            agent.map_or("", |agent| if agent == "phone" { "small" } else { "" })
        })
    };
    let site = Site::with(by, |_| fresh("x")).await;
    assert!(
        !shares(
            &site,
            ("/a", &[("user-agent", "phone")]),
            ("/a", &[("user-agent", "pc")])
        )
        .await
    );
    assert!(is_hit(&site.get("/a", &[("user-agent", "mac")]).await));
}

#[tokio::test]
async fn methods_and_statuses_can_be_chosen() {
    let only = |layer: CacheLayer| {
        layer
            .methods([Method::GET])
            .statuses([StatusCode::OK, StatusCode::FOUND])
            .ttl(MINUTE)
    };
    let site = Site::with(only, |parts| {
        let mut response = reply(&[], "x");
        let code = parts.uri.path()[1..].parse().expect("a number");
        *response.status_mut() = StatusCode::from_u16(code).expect("a status");
        response
    })
    .await;
    for (path, stored) in [
        ("/200", true),
        ("/302", true),
        ("/404", false),
        ("/301", false),
    ] {
        assert_eq!(
            shares(&site, (path, &[]), (path, &[])).await,
            stored,
            "{path}"
        );
    }
    assert!(!is_hit(&site.send(request("HEAD", "/200", &[])).await));
}

#[test]
#[should_panic(expected = "GET and HEAD only")]
fn other_methods_are_refused() {
    let redis = tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(async { Server::shared().redis().await });
    let _ = CacheLayer::new(redis).methods([Method::POST]);
}

#[tokio::test]
async fn what_is_not_there_can_be_remembered() {
    let negative = |layer: CacheLayer| layer.negative_ttl(Duration::from_secs(5));
    let site = Site::with(negative, |parts| {
        let mut response = reply(&[], "x");
        if parts.uri.path() == "/none" {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        response
    })
    .await;
    assert!(shares(&site, ("/none", &[]), ("/none", &[])).await);
    assert!(!shares(&site, ("/some", &[]), ("/some", &[])).await);
    let hit = site.get("/none", &[]).await;
    assert!(status(&hit).ttl().expect("a ttl") <= Duration::from_secs(5));
}

#[tokio::test]
async fn handlers_can_decide_for_one_answer() {
    let all = |layer: CacheLayer| layer.ttl(MINUTE);
    let site = Site::with(all, |parts| {
        let mut response = reply(&[], "x");
        match parts.uri.path() {
            "/longer" => drop(
                response
                    .extensions_mut()
                    .insert(CacheFor::secs(600).tags(["products"])),
            ),
            "/never" => drop(response.extensions_mut().insert(NoCache)),
            "/cookie" => {
                response.extensions_mut().insert(CacheFor::secs(600));
                let cookie = http::HeaderValue::from_static("a=b");
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            _ => {}
        }
        response
    })
    .await;
    let first = site.get("/longer", &[]).await;
    assert!(first.extensions().get::<CacheFor>().is_none());
    assert_eq!(first.headers().get("cache-control"), None);
    let hit = site.get("/longer", &[]).await;
    assert!(status(&hit).ttl().expect("a ttl") > MINUTE);
    assert!(!shares(&site, ("/never", &[]), ("/never", &[])).await);
    assert!(!shares(&site, ("/cookie", &[]), ("/cookie", &[])).await);

    site.get("/other", &[]).await;
    Purge::new(site.redis.clone())
        .tag("products")
        .await
        .expect("purged");
    assert!(!is_hit(&site.get("/longer", &[]).await));
    assert!(is_hit(&site.get("/other", &[]).await));
}

#[tokio::test]
async fn axum_handlers_return_their_decision() {
    let shared = Server::shared();
    let redis = patient(&shared).await;
    let router = Router::new()
        .route("/kept", get(|| async { (CacheFor::secs(300), Json(7)) }))
        .route(
            "/not",
            get(|| async { (NoCache, [("cache-control", "max-age=60")], "x") }),
        )
        .layer(CacheLayer::new(redis));
    let server = HttpServer::axum(router).await;
    // A body is stored just after its last byte.
    let mut was_hit = false;
    for _ in 0..10_000 {
        let answer = server.get("/kept", &[]).await;
        was_hit = answer.headers().contains_key("age");
        if was_hit {
            break;
        }
    }
    assert!(was_hit);
    for _ in 0..3 {
        let answer = server.get("/not", &[]).await;
        assert_eq!(
            answer.headers()["cache-status"],
            "tower-fred; fwd=uri-miss; detail=handler"
        );
    }
}

#[tokio::test]
async fn the_inner_of_two_caches_decides() {
    let shared = Server::shared();
    let redis = patient(&shared).await;
    let origin = Origin::new(|_| reply(&[], "x"));
    let outer = CacheLayer::new(redis.clone()).name("outer").ttl(MINUTE);
    let inner = |settings: fn(CacheLayer) -> CacheLayer| {
        settings(CacheLayer::new(redis.clone()).name("inner"))
    };
    for (path, inner, stored) in [
        ("/none", inner(|layer| layer), false),
        (
            "/short",
            inner(|layer| layer.ttl(Duration::from_secs(10))),
            true,
        ),
        (
            "/bypass",
            inner(|layer| layer.ttl(MINUTE).bypass_when(|_| true)),
            false,
        ),
        (
            "/other",
            inner(|layer| layer.ttl(MINUTE).vary_by_query(["a"])),
            true,
        ),
    ] {
        let service = outer.layer(inner.layer(origin.clone()));
        for round in 0..3 {
            let response = service
                .clone()
                .oneshot(request("GET", path, &[]))
                .await
                .expect("an answer");
            let line: Vec<_> = response.headers().get_all("cache-status").iter().collect();
            let line = format!("{line:?}");
            http_body_util::BodyExt::collect(response.into_body())
                .await
                .expect("a body");
            for _ in 0..8 {
                redis.ping().await.expect("a sign of life");
            }
            assert_eq!(
                line.contains("hit"),
                stored && round > 0,
                "{path} {round} {line}"
            );
            if path == "/short" && round > 0 {
                assert!(line.contains("ttl=9"), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn a_cache_has_a_field_of_its_own() {
    let named = |layer: CacheLayer| {
        layer
            .name("shop")
            .targeted(HeaderName::from_static("cdn-cache-control"))
    };
    let site = Site::with(named, |parts| {
        let name = match parts.uri.path() {
            "/own" => "shop-cache-control",
            "/cdn" => "cdn-cache-control",
            _ => "tower-fred-cache-control",
        };
        reply(&[("cache-control", "no-store"), (name, "max-age=60")], "x")
    })
    .await;
    for (path, stored) in [("/own", true), ("/cdn", true), ("/default", false)] {
        assert_eq!(
            shares(&site, (path, &[]), (path, &[])).await,
            stored,
            "{path}"
        );
    }
    let hit = site.get("/own", &[]).await;
    assert_eq!(field(&hit, "shop-cache-control"), Some("max-age=60"));
    assert!(
        field(&hit, "cache-status")
            .expect("a status")
            .starts_with("shop; hit")
    );
}

#[tokio::test]
async fn several_parts_come_in_one_body() {
    let fields = [
        ("cache-control", "max-age=60"),
        ("content-type", "text/plain"),
    ];
    let site = Site::new(move |_| reply(&fields, "0123456789")).await;
    site.get("/", &[]).await;
    let parts = site.get("/", &[("range", "bytes=0-1,-2")]).await;
    assert_eq!(parts.status(), 206);
    assert!(is_hit(&parts) && field(&parts, "content-range").is_none());
    let kind = field(&parts, "content-type").expect("a type");
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .expect("a boundary");
    let body = String::from_utf8_lossy(parts.body()).into_owned();
    let length = body.len().to_string();
    assert_eq!(field(&parts, "content-length"), Some(&*length));
    let bodies: Vec<&str> = body.split(&format!("--{boundary}")).collect();
    assert_eq!(bodies.len(), 4);
    assert!(
        bodies[1].ends_with("bytes 0-1/10\r\n\r\n01\r\n")
            && bodies[2].ends_with("bytes 8-9/10\r\n\r\n89\r\n")
    );
}
