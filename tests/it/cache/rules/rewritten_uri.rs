//! URIs that layers outside of the cache have changed.

use axum::{
    Router,
    extract::{
        NestedPath, OriginalUri, RawPathParams,
        rejection::{NestedPathRejection, RawPathParamsRejection},
    },
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use http::Uri;
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_fred::{CacheLayer, cache::CacheStatus};

use crate::cache::request;
use crate::support::Server;

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
