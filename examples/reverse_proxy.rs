//! A caching reverse proxy: plain HTTP/1.1 in front of an origin, with the cache between them.
//!
//! ```text
//! ORIGIN=http://127.0.0.1:8000 LISTEN=127.0.0.1:3002 scripts/with-redis cargo run --example reverse_proxy
//! curl -i http://127.0.0.1:3002/
//! ```
//!
//! It stores the responses that the origin allows to be stored (RFC 9111), and validates stale ones. It answers with a stale
//! response only when the origin is unreachable or has allowed that. `REDIS_URL` is the URL of Redis. `PATIENCE` is how many
//! seconds the origin may take until its response begins; default 30.

use std::{
    convert::Infallible,
    error::Error,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{Either, Full};
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
        // Longer than the default: a request to the origin usually takes longer still.
        .deadline(Duration::from_secs(1))
        .connect(&variable("REDIS_URL", "redis://localhost:6379"))
        .await?;
    let behind = Origin::new(&origin, patience)?;
    let host = behind.host().clone();
    let cache = CacheLayer::new(redis)
        .heuristic(Duration::from_secs(24 * 60 * 60))
        .targeted(HeaderName::from_static("cdn-cache-control"))
        .layer(behind);

    let listener = TcpListener::bind(variable("LISTEN", "127.0.0.1:3002")).await?;
    println!("http://{} -> {origin}", listener.local_addr()?);
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    tokio::spawn(serve(stream, peer, host.clone(), cache.clone()));
                }
                // Too many open files, or a client that closed the connection. The proxy goes on.
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

/// Serves one connection until it is closed.
async fn serve(stream: TcpStream, peer: SocketAddr, host: HeaderValue, cache: Cache<Origin>) {
    let _ = stream.set_nodelay(true);
    let wire = Wire::new(stream);
    let sender = wire.sender();
    let front = Front {
        peer: peer.ip(),
        host,
        sender,
        cache,
    };
    let service = service_fn(move |request| front.clone().answer(request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(wire), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
}

type Answer = Response<Either<CacheBody<Incoming>, Full<Bytes>>>;

/// The proxy for the connection of one client.
#[derive(Clone)]
struct Front {
    peer: IpAddr,
    /// The value of `Host` for a request without one.
    host: HeaderValue,
    sender: Sender,
    cache: Cache<Origin>,
}

impl Front {
    /// Answers one request from the cache, from the origin, or with an error.
    async fn answer(self, mut request: Request<Incoming>) -> Result<Answer, Infallible> {
        if let Err(status) = self.settle(&mut request) {
            return Ok(empty(status));
        }
        if !fields::may_go_on(&mut request) {
            return Ok(last_hop(&request));
        }
        self.prepare(&mut request);
        let early = self.sender.early();
        if request.version() >= Version::HTTP_11 {
            let early = early.clone();
            hyper::ext::on_informational(&mut request, move |interim| {
                let mut headers = interim.headers().clone();
                fields::drop_hop_by_hop(&mut headers);
                // RFC 9110 §8.6: not in an interim response
                headers.remove(header::CONTENT_LENGTH);
                early.send(interim.status(), &headers);
            });
        }
        let answer = self.cache.oneshot(request).await;
        early.close();
        Ok(match answer {
            Ok(response) => response.map(Either::Left),
            Err(error) => {
                tracing::warn!(error, "no answer from the origin");
                empty(failure(&*error))
            }
        })
    }

    /// Checks the host and the length of a request, and refuses what the proxy does not serve.
    fn settle(&self, request: &mut Request<Incoming>) -> Result<(), StatusCode> {
        if request.method() == Method::CONNECT {
            return Err(StatusCode::NOT_IMPLEMENTED);
        }
        fields::settle_host(request, &self.host)?;
        // RFC 9112 §6.1
        fields::settle_length(request.headers_mut(), true).map_err(|_| StatusCode::NOT_IMPLEMENTED)
    }

    /// Removes and adds the fields that a proxy must. The fields about the client are added here, before the cache, so that
    /// the origin can name them in `Vary`.
    fn prepare(&self, request: &mut Request<Incoming>) {
        let via = fields::via(request.version());
        let headers = request.headers_mut();
        fields::drop_hop_by_hop(headers);
        for name in [
            origin::X_FORWARDED_HOST,
            origin::X_FORWARDED_PROTO,
            header::EXPECT,
        ] {
            // The client must not set the first two. hyper has handled `Expect`.
            headers.remove(name);
        }
        if let Ok(peer) = HeaderValue::try_from(self.peer.to_string()) {
            headers.append(origin::X_FORWARDED_FOR, peer);
        }
        headers.append(header::VIA, via);
    }
}

/// RFC 9110 §7.6.2: the answer of a proxy that is the last recipient of a `TRACE` or `OPTIONS` request.
fn last_hop<B>(request: &Request<B>) -> Answer {
    if request.method() != Method::TRACE {
        return empty(StatusCode::NO_CONTENT);
    }
    let message = Full::from(fields::traced(request));
    let mut response = Response::new(Either::Right(message));
    let kind = HeaderValue::from_static("message/http");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The status of a request that failed: by whose fault.
fn failure(error: &(dyn Error + 'static)) -> StatusCode {
    let mut causes = std::iter::successors(Some(error), |error| Error::source(*error));
    if error.is::<tokio::time::error::Elapsed>() {
        StatusCode::GATEWAY_TIMEOUT
    } else if causes.any(|cause| {
        let hyper = cause.downcast_ref::<hyper::Error>();
        hyper.is_some_and(hyper::Error::is_user)
    }) {
        // The client did not send its whole body.
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::BAD_GATEWAY
    }
}

fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(Either::Right(Full::default()));
    *response.status_mut() = status;
    response
}
