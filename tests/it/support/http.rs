//! HTTP over loopback: any tower service or axum router behind a real server, and a client.

use std::{convert::Infallible, future::Future, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tower::Service;

/// A server on a free port of the loopback interface, ended when it is dropped.
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
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
        B: http_body::Body<Error = Infallible> + Send + 'static,
        B::Data: Send,
    {
        let listener = listener().await;
        let address = listener.local_addr().expect("an address");
        Self::new(address, async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(service.clone());
                tokio::spawn(async move {
                    // A client that goes away is none of the server's business.
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

    /// The URL of `path` on this server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let (parts, body) = self
            .client
            .request(request)
            .await
            .expect("an answer")
            .into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Response::from_parts(parts, body)
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

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}
