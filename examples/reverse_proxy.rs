//! A caching reverse proxy: plain HTTP/1.1 in front of an origin, with the cache between them.
//!
//! ```text
//! ORIGIN=http://127.0.0.1:8000 LISTEN=127.0.0.1:3002 scripts/with-redis cargo run --example reverse_proxy
//! curl -i http://127.0.0.1:3002/
//! ```
//!
//! It stores what the origin allows to be stored (RFC 9111), validates what is stale, and answers with stale content only
//! when the origin is out of reach or has allowed it. `REDIS_URL` says which Redis to use, `PATIENCE` how many seconds
//! the origin may take until its answer begins (30).

use std::{
    convert::Infallible,
    error::Error,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{Either, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, ServiceExt};
use tower_fred::{
    CacheLayer, Redis,
    cache::{Cache, CacheBody},
};

use interim::{Sender, Wire};
use origin::Origin;

#[path = "reverse_proxy/fields.rs"]
mod fields;
#[path = "reverse_proxy/interim.rs"]
mod interim;
#[path = "reverse_proxy/origin.rs"]
mod origin;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt().with_env_filter("info").init();
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or(default.to_owned());
    let origin: Uri = std::env::var("ORIGIN")
        .map_err(|_| "ORIGIN: the origin's URL, such as http://127.0.0.1:8000")?
        .parse()?;
    let patience = Duration::from_secs(variable("PATIENCE", "30").parse()?);
    let redis = Redis::builder()
        .namespace("proxy")
        // An origin takes longer than this, most of the time.
        .deadline(Duration::from_secs(1))
        .connect(&variable("REDIS_URL", "redis://localhost:6379"))
        .await?;
    let cache = CacheLayer::new(redis)
        .heuristic(Duration::from_secs(24 * 60 * 60))
        .targeted(HeaderName::from_static("cdn-cache-control"))
        .layer(Origin::new(&origin, patience)?);

    let listener = TcpListener::bind(variable("LISTEN", "127.0.0.1:3002")).await?;
    println!("http://{} -> {origin}", listener.local_addr()?);
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => drop(tokio::spawn(serve(stream, peer, cache.clone()))),
                // Too many open files, or a client that went away: neither ends the proxy.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::select! {
        () = accept => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}

/// Answers one client until it leaves.
async fn serve(stream: TcpStream, peer: SocketAddr, cache: Cache<Origin>) {
    let _ = stream.set_nodelay(true);
    let wire = Wire::new(stream);
    let sender = wire.sender();
    let service =
        service_fn(move |request| answer(request, peer.ip(), sender.clone(), cache.clone()));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(wire), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
}

type Answer = Response<Either<CacheBody<Incoming>, Empty<Bytes>>>;

/// Answers one request: from the cache, from the origin, or with an error of its own.
async fn answer(
    mut request: Request<Incoming>,
    peer: IpAddr,
    sender: Sender,
    cache: Cache<Origin>,
) -> Result<Answer, Infallible> {
    if let Err(status) = prepare(&mut request) {
        return Ok(empty(status));
    }
    request.extensions_mut().insert(peer);
    let early = sender.early();
    if request.version() >= Version::HTTP_11 {
        let early = early.clone();
        hyper::ext::on_informational(&mut request, move |interim| {
            early.send(interim.status(), interim.headers());
        });
    }
    let answer = cache.oneshot(request).await;
    early.close();
    Ok(match answer {
        Ok(response) => response.map(Either::Left),
        Err(error) => {
            tracing::warn!(error, "no answer from the origin");
            empty(failure(&*error))
        }
    })
}

/// Takes out what is said to the proxy, and refuses what it is not for.
fn prepare(request: &mut Request<Incoming>) -> Result<(), StatusCode> {
    if request.method() == Method::CONNECT {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    fields::settle_host(request)?;
    if !fields::may_go_on(request) {
        return Err(StatusCode::NO_CONTENT);
    }
    fields::drop_hop_by_hop(request.headers_mut());
    for name in [
        origin::X_FORWARDED_HOST,
        origin::X_FORWARDED_PROTO,
        header::EXPECT,
    ] {
        // Not the client's to say. What it expects, hyper has done.
        request.headers_mut().remove(name);
    }
    Ok(())
}

/// Whose fault it is that there is no answer.
fn failure(error: &(dyn Error + 'static)) -> StatusCode {
    let mut causes = std::iter::successors(Some(error), |error| Error::source(*error));
    if error.is::<tokio::time::error::Elapsed>() {
        StatusCode::GATEWAY_TIMEOUT
    } else if causes.any(|cause| {
        let hyper = cause.downcast_ref::<hyper::Error>();
        hyper.is_some_and(hyper::Error::is_user)
    }) {
        // The body that the client was sending.
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::BAD_GATEWAY
    }
}

fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = status;
    response
}
