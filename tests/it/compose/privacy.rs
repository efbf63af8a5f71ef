//! Answers that depend on the session stay out of the cache.

use std::time::Duration;

use axum::Router;
use http::Request;
use http_body_util::Full;
use tower_fred::{CacheLayer, Session, SessionLayer};

use super::application::Kind;
use crate::support::{
    Server,
    http::{HttpServer, cookie_of},
};

/// Regression: one user got another user's page. The route may be cached, but the handler read the session. A session layer
/// outside of the cache adds `Vary: Cookie` too late.
#[tokio::test]
async fn an_answer_made_from_the_session_is_never_cached() {
    let server = Server::shared();
    for order in [[Kind::Session, Kind::Cache], [Kind::Cache, Kind::Session]] {
        let redis = server.redis().await;
        let handler = async |session: Session| {
            let name: Option<String> = session.get("name").await.expect("a read");
            name.unwrap_or_else(|| "nobody".into())
        };
        let login = async |session: Session| session.insert("name", "ada").expect("a value");
        let router = Router::new().route("/", axum::routing::get(handler).post(login));
        let router = order.iter().rev().fold(router, |router, kind| match kind {
            Kind::Cache => {
                router.layer(CacheLayer::new(redis.clone()).ttl(Duration::from_secs(60)))
            }
            _ => router.layer(SessionLayer::new(redis.clone())),
        });
        let http = HttpServer::axum(router).await;

        let login = Request::post(http.url("/"))
            .body(Full::default())
            .expect("a request");
        let login = http.send(login).await;
        let cookie = cookie_of(&login);
        for (cookie, name) in [(cookie, "ada"), ("", "nobody"), (cookie, "ada")] {
            let answer = http.get("/", &[("cookie", cookie)]).await;
            assert_eq!(answer.body(), name, "{order:?}");
            let status = answer.headers()["cache-status"].to_str().expect("text");
            assert!(!status.contains("stored"), "{order:?}: {status}");
        }
    }
}
