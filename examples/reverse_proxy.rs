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
        // An origin takes longer than this, most of the time.
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

/// The proxy as one client's connection sees it.
#[derive(Clone)]
struct Front {
    peer: IpAddr,
    /// What `Host` is for a client that names none.
    host: HeaderValue,
    sender: Sender,
    cache: Cache<Origin>,
}

impl Front {
    /// Answers one request: from the cache, from the origin, or with an error of its own.
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

    /// Makes sure for which host a request is, and how long it is; refuses what the proxy is not for.
    fn settle(&self, request: &mut Request<Incoming>) -> Result<(), StatusCode> {
        if request.method() == Method::CONNECT {
            return Err(StatusCode::NOT_IMPLEMENTED);
        }
        fields::settle_host(request, &self.host)?;
        // RFC 9112 §6.1
        fields::settle_length(request.headers_mut(), true).map_err(|_| StatusCode::NOT_IMPLEMENTED)
    }

    /// Makes a client's request one of the proxy. What the origin is to see of the client is added here, in front of the
    /// cache, so that the origin may name it in `Vary`.
    fn prepare(&self, request: &mut Request<Incoming>) {
        let via = fields::via(request.version());
        let headers = request.headers_mut();
        fields::drop_hop_by_hop(headers);
        for name in [
            origin::X_FORWARDED_HOST,
            origin::X_FORWARDED_PROTO,
            header::EXPECT,
        ] {
            // Not the client's to say. What it expects, hyper has done.
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
    let mut response = Response::new(Either::Right(Full::default()));
    *response.status_mut() = status;
    response
}
