//! The service: answers from the cache, or calls the handler.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    fill::body::CacheBody,
    flow::{
        answer,
        intent::{Intent, RequestFacts, is_done, note_outdated, outdated},
        near_hit::near_hit,
        pass::{Answer, pass},
        read::read,
    },
    rfc::cache_status::{CacheStatus, Forward},
    rules::{config::Config, key::Target},
    state::shared::Shared,
};
use crate::{future::ResponseFuture, personal::Personal};

/// Answers requests with stored responses. Made by [`CacheLayer`](super::CacheLayer); see the [module](crate::cache).
#[derive(Clone, Debug)]
pub struct Cache<S> {
    inner: S,
    /// One count of references for all of it: routers clone the service for each request.
    shared: Arc<Shared>,
}

impl<S> Cache<S> {
    pub(crate) fn new(inner: S, shared: Shared) -> Self {
        let shared = Arc::new(shared);
        Self { inner, shared }
    }
}

impl<S, ReqBody, B> Service<Request<ReqBody>> for Cache<S>
where
    S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    ReqBody: Body + Send + 'static,
    B: Body + Send + 'static,
    B::Data: From<Bytes>,
    B::Error: Send,
{
    type Response = Response<CacheBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<CacheBody<B>, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        // Use the service that was made ready; leave a fresh clone behind.
        // https://docs.rs/tower/latest/tower/trait.Service.html#be-careful-when-cloning-inner-services
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let (mut parts, body) = request.into_parts();
        let config = &self.shared.config;
        let besides = RequestFacts::of(&mut parts, &body, config);
        let intent = Intent::of(&parts, besides, config);
        if let Some((mut response, status)) = near_hit(&intent, &parts, &self.shared) {
            tell(&mut response, status, config);
            return ResponseFuture::ready(response);
        }
        let intent = intent.into_owned();
        let mut request = Request::from_parts(parts, body);
        if self.shared.config.vary_by.behind_guard {
            Personal::enter(request.extensions_mut());
        }
        let shared = Shared::clone(&self.shared);
        ResponseFuture::new(run(inner, request, intent, shared))
    }
}

async fn run<S, ReqBody, B>(
    inner: S,
    request: Request<ReqBody>,
    intent: Intent<'static>,
    shared: Shared,
) -> Result<Response<CacheBody<B>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    ReqBody: Send + 'static,
    B: Body + Send + 'static,
    B::Data: From<Bytes>,
    B::Error: Send,
{
    let (mut response, status) = match intent {
        Intent::Read(key, target) => {
            read(inner, request, shared.clone(), key, target.origin()).await?
        }
        Intent::Write(targets) => Box::pin(write(inner, request, &shared, &targets)).await?,
        Intent::Pass(why, detail) => pass(inner, request, why, detail).await?,
        Intent::Refuse => (answer::refused(), CacheStatus::refused()),
    };
    tell(&mut response, status, &shared.config);
    Ok(response)
}

/// Adds what the cache did to the response: the `Cache-Status` field and the extension.
fn tell<B>(response: &mut Response<B>, status: CacheStatus, config: &Config) {
    tracing::debug!(target: "tower_fred::cache", %status, "answered");
    if config.status_field {
        status.write(&config.name, response.headers_mut());
    }
    response.extensions_mut().insert(status);
}

/// Calls the handler with an unsafe request, then purges what the request has changed (RFC 9111 §4.4).
async fn write<S, ReqBody, B>(
    inner: S,
    request: Request<ReqBody>,
    shared: &Shared,
    targets: &[Target<'_>],
) -> Answer<B, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    let (response, status) = pass(inner, request, Forward::Method, None).await?;
    if !is_done(response.status()) {
        return Ok((response, status));
    }
    let vary_by = &shared.config.vary_by;
    let of = |target| outdated(target, vary_by, response.headers());
    let tags = targets.iter().flat_map(of).collect();
    // Not in the background: the client's next request must see its change.
    if let Err(error) = shared.store.purge(tags).await {
        note_outdated(&error);
    }
    Ok((response, status))
}
