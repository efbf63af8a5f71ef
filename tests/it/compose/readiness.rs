//! The layers call the instance of the inner service that was made ready.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use tower::{ServiceBuilder, service_fn};
use tower_fred::{CacheLayer, RateLimitLayer, SessionLayer};

use super::application::{answer, quota};
use crate::support::{Server, http::call};

/// Over `ConcurrencyLimit(1)`, a layer panics or hangs if it calls another instance than the one that was made ready.
#[tokio::test]
async fn all_three_work_over_a_concurrency_limit_of_one() {
    let server = Server::shared();
    let redis = server.redis().await;
    let service = ServiceBuilder::new()
        .layer(RateLimitLayer::new(redis.clone(), quota()))
        .layer(SessionLayer::new(redis.clone()))
        .layer(CacheLayer::new(redis))
        .concurrency_limit(1)
        .service(service_fn(|request: Request<Full<Bytes>>| async move {
            answer(request, &Arc::default()).await
        }));
    for path in ["/page", "/page", "/page", "/visit", "/visit"] {
        let request = Request::get(path).header(header::HOST, "shop.example");
        let request = request.body(Full::<Bytes>::default()).expect("a request");
        let response = call(service.clone(), request).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
    }
}
