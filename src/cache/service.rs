//! The service: look up, or ask the handler and store.

use std::{
    mem,
    task::{Context, Poll},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    answer,
    body::{CacheBody, Copying},
    config::Shared,
    fill::{self, Fill},
    freshness::Times,
    intent::{Intent, outdated},
    key::Target,
    lookup::{Found, lookup},
    policy::{Demands, judge},
    status::{CacheStatus, Forward},
};
use crate::{
    future::ResponseFuture,
    personal::Personal,
    store::{Digest, Remote, Variants},
};

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
    ReqBody: Send + 'static,
    B: Body + Send + 'static,
    B::Data: From<Bytes>,
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
        ResponseFuture::new(run(inner, request, self.shared.clone()))
    }
}

async fn run<S, ReqBody, B>(
    inner: S,
    request: Request<ReqBody>,
    shared: Shared,
) -> Result<Response<CacheBody<B>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
    B: Body,
{
    let (parts, body) = request.into_parts();
    let intent = Intent::of(&parts, &shared.config);
    let request = Request::from_parts(parts, body);
    let (mut response, status) = match intent {
        Intent::Read(target) => read(inner, request, &shared, target.resource()).await?,
        Intent::Write(target) => write(inner, request, &shared.remote, &target).await?,
        Intent::Pass(why, detail) => pass(inner, request, why, detail).await?,
    };
    tracing::debug!(target: "tower_fred::cache", %status, "answered");
    if let Some(name) = &shared.config.name {
        status.write(name, response.headers_mut());
    }
    response.extensions_mut().insert(status);
    Ok(response)
}

type Answer<B, E> = Result<(Response<CacheBody<B>>, CacheStatus), E>;

/// Lets the handler answer, with no part of the cache in it.
async fn pass<S, ReqBody, B>(
    mut inner: S,
    request: Request<ReqBody>,
    why: Forward,
    detail: Option<&'static str>,
) -> Answer<B, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    let response = inner.call(request).await?;
    let status = CacheStatus::forwarded(why, false, detail);
    Ok((response.map(CacheBody::wrapped), status))
}

/// Lets the handler change something, then forgets what it was before.
async fn write<S, ReqBody, B>(
    inner: S,
    request: Request<ReqBody>,
    remote: &Remote,
    target: &Target,
) -> Answer<B, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    let (response, status) = pass(inner, request, Forward::Method, None).await?;
    for resource in outdated(target, response.status(), response.headers()) {
        // Not in the background: the client's next request is to see what it changed.
        if let Err(error) = remote.delete(&remote.primary(&resource)).await {
            tracing::warn!(target: "tower_fred::cache", %error, "an outdated response may still be in the cache");
            break;
        }
    }
    Ok((response, status))
}

/// Answers from the cache, or lets the handler answer and stores that.
async fn read<S, ReqBody, B>(
    inner: S,
    request: Request<ReqBody>,
    shared: &Shared,
    resource: Digest,
) -> Answer<B, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
    B: Body,
{
    let demands = Demands::of(request.headers(), shared.config.client_directives);
    let found = lookup(&shared.remote, &resource, request.headers()).await;
    let now_ms = unix_millis();
    let (why, variants) = match found {
        Ok(Found {
            answer: Ok(stored),
            variants,
        }) => match demands.accept(&stored.head, now_ms) {
            Ok(()) => return Ok(answer::hit(stored, request.method(), now_ms)),
            Err(why) => (why, variants),
        },
        Ok(Found {
            answer: Err(why),
            variants,
        }) => (why, variants),
        Err(_) if demands.only_if_cached() => return Ok(answer::refused()),
        Err(error) => {
            tracing::debug!(target: "tower_fred::cache", %error, "the cache is unavailable");
            return pass(inner, request, Forward::Bypass, Some("unavailable")).await;
        }
    };
    if demands.only_if_cached() {
        return Ok(answer::refused());
    }
    // An answer to HEAD says too little to be stored.
    if request.method() == Method::HEAD {
        return pass(inner, request, why, None).await;
    }
    let miss = Miss {
        demands,
        resource,
        variants,
        why,
    };
    fill(inner, request, shared, miss).await
}

/// What led to the handler, needed again when it has answered.
struct Miss {
    demands: Demands,
    resource: Digest,
    variants: Option<Variants>,
    why: Forward,
}

/// Lets the handler answer, and has the answer copied into the cache on its way to the client if it may be stored.
async fn fill<S, ReqBody, B>(
    mut inner: S,
    mut request: Request<ReqBody>,
    shared: &Shared,
    miss: Miss,
) -> Answer<B, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
    B: Body,
{
    let headers = request.headers().clone();
    let personal = Personal::of(request.extensions_mut());
    let sent_ms = unix_millis();
    let (answer, body) = inner.call(request).await?.into_parts();
    let times = Times {
        sent_ms,
        received_ms: unix_millis(),
    };
    let config = &shared.config;
    let verdict = judge(
        &miss.demands,
        answer.status,
        &answer.headers,
        times,
        config.ttl,
    )
    // The handler used the session, so its answer is for nobody else.
    .and_then(|verdict| {
        if personal.is_set() {
            Err("session")
        } else {
            Ok(verdict)
        }
    });
    let copying = match verdict {
        Ok(verdict) => {
            let context = fill::Context {
                resource: &miss.resource,
                request: &headers,
                variants: miss.variants,
                times,
                personal,
            };
            Copying::new(&answer.headers, &body.size_hint(), config.max_body, || {
                Fill::new(&shared.remote, context, &answer, &verdict)
            })
        }
        Err(why) => {
            tracing::debug!(target: "tower_fred::cache", why, "not stored");
            None
        }
    };
    let status = CacheStatus::forwarded(miss.why, copying.is_some(), None);
    let body = match copying {
        Some(copying) => CacheBody::copied(body, copying),
        None => CacheBody::wrapped(body),
    };
    Ok((Response::from_parts(answer, body), status))
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
