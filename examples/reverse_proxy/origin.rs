//! The service behind the cache: it forwards requests to the origin.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{
    HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower::Service;

use crate::{Failure, fields};

#[derive(Clone)]
pub(crate) struct Origin {
    client: Client<HttpConnector, Incoming>,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    patience: Duration,
}

impl Origin {
    /// `patience` is how long the origin may take until its response begins.
    pub(crate) fn new(origin: &Uri, patience: Duration) -> Result<Self, Failure> {
        let authority = origin.authority().ok_or("ORIGIN has no host")?.clone();
        if origin.scheme() != Some(&Scheme::HTTP) {
            return Err("ORIGIN: http:// only".into());
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // Shorter than the time for which servers usually keep idle connections.
            .pool_idle_timeout(Duration::from_secs(2))
            // `Host` is the one of the client.
            .set_host(false)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .build(connector);
        Ok(Self {
            client,
            scheme: Scheme::HTTP,
            host: HeaderValue::from_str(authority.as_str())?,
            authority,
            patience,
        })
    }

    /// The value of `Host` for a request without one.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Makes a client's request one for the origin. The cache does not see the fields that are added here, so they may only
    /// depend on what is in the cache's key. Those that differ between clients were added before the cache.
    fn forward(&self, request: &mut Request<Incoming>) -> Result<(), http::Error> {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path.unwrap_or(PathAndQuery::from_static("/")))
            .build()?;
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        let host = headers.get(header::HOST).unwrap_or(&self.host).clone();
        headers.insert(X_FORWARDED_HOST, host);
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
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
        let is_head = request.method() == Method::HEAD;
        let client = self.client.clone();
        let patience = self.patience;
        Box::pin(async move {
            prepared?;
            let answer = tokio::time::timeout(patience, client.request(request));
            let mut response = answer.await??;
            if response.status().is_informational() {
                return Err("the origin switched the protocol without being asked to".into());
            }
            let via = fields::via(response.version());
            *response.version_mut() = Version::HTTP_11;
            let has_body = !is_head && !matches!(response.status().as_u16(), 204 | 304);
            fields::settle_length(response.headers_mut(), has_body)
                .map_err(|_| "the length of the response is unclear")?;
            fields::drop_hop_by_hop(response.headers_mut());
            response.headers_mut().append(header::VIA, via);
            Ok(response)
        })
    }
}

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
