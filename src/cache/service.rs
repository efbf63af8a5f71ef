//! The service: look up, or ask the handler and store.

use std::{
    mem,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    answer,
    body::CacheBody,
    config::{Config, Shared},
    intent::{Besides, Intent, is_done, note_outdated, outdated},
    key::Target,
    peek::peek,
    read::read,
    status::{CacheStatus, Forward},
};
use crate::{future::ResponseFuture, personal::Personal};

/// Answers requests with stored responses. Made by [`CacheLayer`](super::CacheLayer); see the [module](crate::cache).
#[derive(Clone, Debug)]
pub struct Cache<S> {
    inner: S,
    shared: Shared,
}

impl<S> Cache<S> {
    pub(crate) fn new(inner: S, shared: Shared) -> Self {
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
        let besides = Besides::of(&mut parts, &body, config);
        let intent = Intent::of(&parts, besides, config);
        if let Some((mut response, status)) = peek(&intent, &parts, &self.shared) {
            tell(&mut response, status, config);
            return ResponseFuture::ready(response);
        }
        let intent = intent.into_owned();
        let mut request = Request::from_parts(parts, body);
        if self.shared.config.vary_by.behind_guard {
            Personal::enter(request.extensions_mut());
        }
        ResponseFuture::new(run(inner, request, intent, self.shared.clone()))
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

/// Says in the response what the cache did.
fn tell<B>(response: &mut Response<B>, status: CacheStatus, config: &Config) {
    tracing::debug!(target: "tower_fred::cache", %status, "answered");
    if config.status_field {
        status.write(&config.name, response.headers_mut());
    }
    response.extensions_mut().insert(status);
}

pub(crate) type Answer<B, E> = Result<(Response<CacheBody<B>>, CacheStatus), E>;

/// Lets the handler answer, with no part of the cache in it.
pub(crate) async fn pass<S, ReqBody, B>(
    mut inner: S,
    request: Request<ReqBody>,
    why: Forward,
    detail: Option<&'static str>,
) -> Answer<B, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    let response = inner.call(request).await?;
    let status = CacheStatus::forwarded(why).detail(detail);
    Ok((response.map(CacheBody::wrapped), status))
}

/// Lets the handler change something, then forgets what it was before.
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
    // Not in the background: the client's next request is to see what it changed.
    if let Err(error) = shared.store.purge(tags).await {
        note_outdated(&error);
    }
    Ok((response, status))
}
