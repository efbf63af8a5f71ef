//! The three layers on a plain hyper server, without axum.
//!
//! ```text
//! scripts/with-redis cargo run --example hyper
//! curl -i http://localhost:3001/time      # cached for ten seconds
//! curl -i -c jar -b jar http://localhost:3001/visit
//! ```

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};
use tower_fred::{
    CacheLayer, Error, RateLimitLayer, Redis, Session, SessionLayer,
    rate_limit::{PeerAddr, Quota},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379".into());
    let redis = Redis::builder()
        .namespace("hyper-example")
        .connect(&url)
        .await?;

    // The stack is made once and cloned for each connection, so that all connections share the state of the layers.
    let service = ServiceBuilder::new()
        .layer(RateLimitLayer::new(
            redis.clone(),
            Quota::per_second(5).burst(20),
        ))
        .layer(SessionLayer::new(redis.clone()))
        .layer(CacheLayer::new(redis))
        .service(service_fn(answer));

    let listener = TcpListener::bind(("localhost", 3001)).await?;
    println!("listening on http://localhost:3001: try /time and /visit");
    loop {
        let (stream, peer) = listener.accept().await?;
        // The rate limit counts by the peer's address. Only the accept loop knows it.
        let service = ServiceBuilder::new()
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                request
            })
            .service(service.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            if let Err(error) = connection.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match request.uri().path() {
        "/time" => {
            let mut response = text(
                StatusCode::OK,
                format!("{:?}", std::time::SystemTime::now()),
            );
            let lifetime = header::HeaderValue::from_static("max-age=10");
            response
                .headers_mut()
                .insert(header::CACHE_CONTROL, lifetime);
            response
        }
        "/visit" => match visit(&request).await {
            Ok(visits) => text(StatusCode::OK, format!("visit {visits}")),
            Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        },
        _ => text(StatusCode::NOT_FOUND, "try /time or /visit".into()),
    })
}

async fn visit(request: &Request<Incoming>) -> Result<u32, Error> {
    let session = request
        .extensions()
        .get::<Session>()
        .expect("the session layer is outside");
    let visits = session.get("visits").await?.unwrap_or(0) + 1;
    // Buffered, and written in one command before the response is sent.
    session.insert("visits", &visits)?;
    Ok(visits)
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
