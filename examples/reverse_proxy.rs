//! A caching reverse proxy: plain HTTP/1.1 in front of an origin, with the cache between them.
//!
//! ```text
//! ORIGIN=http://127.0.0.1:8000 LISTEN=127.0.0.1:3002 scripts/with-redis cargo run --example reverse_proxy
//! curl -i http://127.0.0.1:3002/
//! ```
//!
//! It stores what the origin allows to be stored (RFC 9111), validates what is stale, and answers with stale content only
//! when the origin is out of reach or has allowed it. `REDIS_URL` says which Redis to use.

use std::{
    convert::Infallible,
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::{Either, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use interim::{Sender, Wire};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, Service, ServiceExt};
use tower_fred::{
    CacheLayer, Redis,
    cache::{Cache, CacheBody},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt().with_env_filter("info").init();
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or(default.to_owned());
    let origin: Uri = std::env::var("ORIGIN")
        .map_err(|_| "ORIGIN: the origin's URL, such as http://127.0.0.1:8000")?
        .parse()?;
    let redis = Redis::builder()
        .namespace("proxy")
        // An origin takes longer than this, most of the time.
        .deadline(Duration::from_secs(1))
        .connect(&variable("REDIS_URL", "redis://localhost:6379"))
        .await?;
    let cache = CacheLayer::new(redis)
        .heuristic(Duration::from_secs(24 * 60 * 60))
        .targeted(HeaderName::from_static("cdn-cache-control"))
        .layer(Origin::new(&origin)?);

    let listener = TcpListener::bind(variable("LISTEN", "127.0.0.1:3002")).await?;
    println!("http://{} -> {origin}", listener.local_addr()?);
    let accept = async {
        loop {
            // Too many open files, or a client that went away: neither ends the proxy.
            if let Ok((stream, peer)) = listener.accept().await {
                tokio::spawn(serve(stream, peer, cache.clone()));
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
    if request.method() == http::Method::CONNECT {
        return Ok(empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    drop_hop_by_hop(request.headers_mut());
    for name in [X_FORWARDED_HOST, X_FORWARDED_PROTO, header::EXPECT] {
        // Not the client's to say. What it expects, hyper has done.
        request.headers_mut().remove(name);
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
            tracing::warn!(error, "the origin did not answer");
            let late = error.is::<tokio::time::error::Elapsed>();
            empty(if late {
                StatusCode::GATEWAY_TIMEOUT
            } else {
                StatusCode::BAD_GATEWAY
            })
        }
    })
}

fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = status;
    response
}

/// The service behind the cache: sends requests on to the origin.
#[derive(Clone)]
struct Origin {
    client: Client<HttpConnector, Incoming>,
    scheme: Scheme,
    authority: Authority,
    host: Arc<HeaderValue>,
}

impl Origin {
    fn new(origin: &Uri) -> Result<Self, Failure> {
        let authority = origin.authority().ok_or("ORIGIN has no host")?.clone();
        if origin.scheme() != Some(&Scheme::HTTP) {
            return Err("ORIGIN: http:// only".into());
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // Shorter than what servers usually keep a connection open for.
            .pool_idle_timeout(Duration::from_secs(2))
            // The client's.
            .set_host(false)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .build(connector);
        Ok(Self {
            client,
            scheme: Scheme::HTTP,
            host: Arc::new(HeaderValue::from_str(authority.as_str())?),
            authority,
        })
    }

    /// Makes a client's request one of the proxy.
    fn forward(&self, request: &mut Request<Incoming>) -> Result<(), http::Error> {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path.unwrap_or(PathAndQuery::from_static("/")))
            .build()?;
        *request.version_mut() = Version::HTTP_11;
        let peer = request.extensions().get::<IpAddr>().copied();
        let headers = request.headers_mut();
        let host = headers
            .entry(header::HOST)
            .or_insert_with(|| (*self.host).clone())
            .clone();
        headers.insert(X_FORWARDED_HOST, host);
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
        if let Some(peer) = peer {
            headers.append(X_FORWARDED_FOR, HeaderValue::try_from(peer.to_string())?);
        }
        headers.append(header::VIA, VIA);
        Ok(())
    }
}

impl Service<Request<Incoming>> for Origin {
    type Response = Response<Incoming>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        let prepared = self.forward(&mut request);
        let client = self.client.clone();
        Box::pin(async move {
            prepared?;
            let answer = tokio::time::timeout(PATIENCE, client.request(request));
            let mut response = answer.await??;
            *response.version_mut() = Version::HTTP_11;
            drop_hop_by_hop(response.headers_mut());
            response.headers_mut().append(header::VIA, VIA);
            Ok(response)
        })
    }
}

/// RFC 9110 §7.6.1: what is for the next neighbour only, and all that `Connection` names.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    let dropped = |name: &HeaderName| named.contains(name) || HOP_BY_HOP.contains(&name.as_str());
    if !headers.keys().any(dropped) {
        return;
    }
    // Not with `remove`, which changes the order of the rest.
    let kept = headers.iter().filter(|(name, _)| !dropped(name));
    *headers = kept
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
}

const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

const VIA: HeaderValue = HeaderValue::from_static("1.1 tower-fred");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// How long the origin may take until its answer begins.
const PATIENCE: Duration = Duration::from_secs(30);

/// Interim responses (RFC 9110 §15.2), which hyper's server does not send: written to the connection before the final one.
mod interim {
    use std::{
        fmt::Write as _,
        io,
        pin::Pin,
        sync::{Arc, Mutex, MutexGuard, PoisonError},
        task::{Context, Poll, ready},
    };

    use bytes::{Buf, BytesMut};
    use http::{HeaderMap, StatusCode};
    use tokio::{
        io::{AsyncRead, AsyncWrite, ReadBuf},
        net::{
            TcpStream,
            tcp::{OwnedReadHalf, OwnedWriteHalf},
        },
    };

    /// A connection whose write half hyper shares with those who send interim responses.
    pub(super) struct Wire {
        read: OwnedReadHalf,
        write: Arc<Mutex<Sending>>,
    }

    struct Sending {
        half: OwnedWriteHalf,
        /// Interim responses that are still to be written, before all else.
        early: BytesMut,
        /// Nothing that hyper has begun to write is still to be written.
        clean: bool,
    }

    /// Sends interim responses to one request, until its final response is there.
    #[derive(Clone)]
    pub(super) struct Early {
        write: Arc<Mutex<Sending>>,
        open: Arc<Mutex<bool>>,
    }

    impl Wire {
        pub(super) fn new(stream: TcpStream) -> Self {
            let (read, half) = stream.into_split();
            let sending = Sending {
                half,
                early: BytesMut::new(),
                clean: true,
            };
            Self {
                read,
                write: Arc::new(Mutex::new(sending)),
            }
        }

        pub(super) fn sender(&self) -> Sender {
            Sender(Arc::clone(&self.write))
        }
    }

    /// Makes an [`Early`] for each request of a connection.
    #[derive(Clone)]
    pub(super) struct Sender(Arc<Mutex<Sending>>);

    impl Sender {
        pub(super) fn early(&self) -> Early {
            Early {
                write: Arc::clone(&self.0),
                open: Arc::new(Mutex::new(true)),
            }
        }
    }

    impl Early {
        pub(super) fn send(&self, status: StatusCode, headers: &HeaderMap) {
            // Held to the end, so that nothing is written after `close`.
            let open = lock(&self.open);
            let is_ours =
                status == StatusCode::CONTINUE || status == StatusCode::SWITCHING_PROTOCOLS;
            if !*open || is_ours {
                return;
            }
            let mut sending = lock(&self.write);
            if !sending.clean {
                return;
            }
            let mut head = format!(
                "HTTP/1.1 {} {}\r\n",
                status.as_str(),
                status.canonical_reason().unwrap_or_default()
            );
            for name in headers.keys() {
                let _ = write!(head, "{name}: ");
                let lines: Vec<&[u8]> = headers.get_all(name).iter().map(AsRef::as_ref).collect();
                sending.early.extend_from_slice(head.as_bytes());
                sending.early.extend_from_slice(&lines.join(&b", "[..]));
                head = "\r\n".to_owned();
            }
            sending.early.extend_from_slice(head.as_bytes());
            sending.early.extend_from_slice(b"\r\n");
            if let Ok(written) = sending.half.try_write(&sending.early) {
                sending.early.advance(written);
            }
        }

        /// The final response is there: from now on nothing is sent.
        pub(super) fn close(&self) {
            *lock(&self.open) = false;
        }
    }

    impl Sending {
        fn poll_early(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            while !self.early.is_empty() {
                let written = ready!(Pin::new(&mut self.half).poll_write(cx, &self.early))?;
                self.early.advance(written);
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Wire {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.read).poll_read(cx, buffer)
        }
    }

    // Not vectored: then hyper offers all that it has in one piece, and `clean` is true of all of it.
    impl AsyncWrite for Wire {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let mut sending = lock(&self.write);
            sending.clean = false;
            ready!(sending.poll_early(cx))?;
            let written = ready!(Pin::new(&mut sending.half).poll_write(cx, bytes))?;
            sending.clean = written == bytes.len();
            Poll::Ready(Ok(written))
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            lock(&self.write).poll_early(cx)
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut lock(&self.write).half).poll_shutdown(cx)
        }
    }

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
