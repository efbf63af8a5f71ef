//! Bodies whose data is of another type than `Bytes`.

use std::convert::Infallible;

use bytes::{Buf, Bytes};
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use tower::{ServiceBuilder, service_fn};
use tower_fred::{CacheLayer, RateLimitLayer, SessionLayer};

use super::application::quota;
use crate::support::{Server, http::call, until};

/// Body data of a type that is not `Bytes`, as other servers may have.
#[derive(Clone, Debug, Default)]
struct Chunk(Bytes);
impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}
impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.0.remaining()
    }
    fn chunk(&self) -> &[u8] {
        self.0.chunk()
    }
    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }
}

#[tokio::test]
async fn a_body_with_chunks_of_its_own_passes_through_all_three() {
    let server = Server::shared();
    let redis = server.redis().await;
    let service = ServiceBuilder::new()
        .layer(CacheLayer::new(redis.clone()))
        .layer(RateLimitLayer::new(redis.clone(), quota().burst(1)))
        .layer(SessionLayer::new(redis))
        .service(service_fn(|request: Request<String>| async move {
            let mut response = Response::new(Full::new(Chunk("made".into())));
            if request.uri().path() == "/page" {
                let lifetime = header::HeaderValue::from_static("max-age=60");
                response
                    .headers_mut()
                    .insert(header::CACHE_CONTROL, lifetime);
            }
            Ok::<_, Infallible>(response)
        }));
    let get = async |path: &str| {
        let request = Request::get(path)
            .header(header::HOST, "shop.example")
            .body(String::new())
            .expect("a request");
        call(service.clone(), request).await.into_parts()
    };
    assert_eq!(get("/page").await.1, "made");
    let (denied, text) = get("/other").await;
    assert_eq!(denied.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(!text.is_empty(), "the layer's own body");
    until("a stored page", async || {
        let (head, text) = get("/page").await;
        let is_hit = head.headers.contains_key(header::AGE);
        match head.status {
            StatusCode::OK => assert!(is_hit && text == "made"),
            other => assert_eq!(other, StatusCode::TOO_MANY_REQUESTS, "it is not stored yet"),
        }
        is_hit
    })
    .await;
}
