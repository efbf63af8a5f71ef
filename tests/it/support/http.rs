//! HTTP over loopback: a tower service or an axum router behind a real server, and a client. And calls without a server.

use std::{convert::Infallible, future::Future, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tower::{Service, ServiceExt};

/// A service that a hyper server can serve, and whose answers have the body `B`.
pub trait HttpService<B>:
    Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S, B> HttpService<B> for S where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// A server on a free port of the loopback interface. It ends when it is dropped.
pub struct HttpServer {
    address: SocketAddr,
    task: JoinHandle<()>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl HttpServer {
    /// Serves an axum router with axum's own server.
    pub async fn axum(router: axum::Router) -> Self {
        let listener = listener().await;
        let address = listener.local_addr().expect("an address");
        let make_service = router.into_make_service_with_connect_info::<SocketAddr>();
        Self::new(address, async move {
            axum::serve(listener, make_service).await.expect("axum");
        })
    }

    /// Serves a tower service with plain hyper.
    pub async fn hyper<S, B>(service: S) -> Self
    where
        S: HttpService<B>,
        B: http_body::Body<Error = Infallible> + Send + 'static,
        B::Data: Send,
    {
        let listener = listener().await;
        let address = listener.local_addr().expect("an address");
        Self::new(address, async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(service.clone());
                tokio::spawn(async move {
                    // An error here is a client that closed the connection.
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection_with_upgrades(TokioIo::new(stream), service)
                        .await;
                });
            }
        })
    }

    fn new(address: SocketAddr, server: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            address,
            task: tokio::spawn(server),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of `path` on this server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        read(self.client.request(request).await.expect("an answer")).await
    }

    /// `GET path` with more header fields.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        let mut request = Request::get(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::default()).expect("a request"))
            .await
    }
}

/// A connection of HTTP/2 without TLS, which sends requests as they are.
pub struct Http2 {
    sender: http2::SendRequest<BoxBody<Bytes, Infallible>>,
}

impl Http2 {
    pub async fn connect(server: &HttpServer) -> Self {
        let stream = TcpStream::connect(server.address).await.expect("connected");
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        Self { sender }
    }

    /// Sends a request with the `:scheme` and `:authority` of its URI, and reads the whole answer.
    pub async fn send(&mut self, request: Request<BoxBody<Bytes, Infallible>>) -> Response<Bytes> {
        read(self.sender.send_request(request).await.expect("an answer")).await
    }
}

/// Calls a service without a server, and reads the whole answer.
pub async fn call<S, ReqBody, B>(service: S, request: Request<ReqBody>) -> Response<Bytes>
where
    S: Service<Request<ReqBody>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let response = service.oneshot(request).await;
    read(response.unwrap_or_else(|never| match never {})).await
}

/// The first cookie that a response sets, as a browser sends it back.
pub fn cookie_of<B>(response: &Response<B>) -> &str {
    let cookie = response.headers()[header::SET_COOKIE].to_str();
    let cookie = cookie.expect("a cookie").split(';').next();
    cookie.unwrap_or_default()
}

async fn read<B: http_body::Body<Error: std::fmt::Debug>>(
    response: Response<B>,
) -> Response<Bytes> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Response::from_parts(parts, body)
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}
