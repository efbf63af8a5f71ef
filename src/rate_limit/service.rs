use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use tower_service::Service;

use super::{
    config::{Config, Verdict},
    decision::Decision,
    identity::Identity,
    ip::PeerIp,
    key::Key,
};
use crate::{body::ResponseBody, future::ResponseFuture};

/// Calls the wrapped service only for requests that are admitted. Made by [`RateLimitLayer`](super::RateLimitLayer).
///
/// # Clone
///
/// Cloning clones the wrapped service and bumps reference counts.
pub struct RateLimit<S, K = PeerIp> {
    inner: S,
    key: Arc<K>,
    config: Arc<Config>,
}

impl<S, K> RateLimit<S, K> {
    pub(super) fn new(inner: S, key: Arc<K>, config: Config) -> Self {
        Self {
            inner,
            key,
            config: Arc::new(config),
        }
    }
}

impl<S, K, ReqBody, ResBody> Service<Request<ReqBody>> for RateLimit<S, K>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    K: Key,
    ReqBody: Send + 'static,
    ResBody: 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<ResponseBody<ResBody>, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        // Use the service that was made ready; leave a fresh clone behind.
        // https://docs.rs/tower/latest/tower/trait.Service.html#be-careful-when-cloning-inner-services
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let (parts, body) = request.into_parts();
        let identity = self.key.identity(&parts);
        if identity.is_none() {
            self.config.note_missing_key(self.key.needs());
        }
        let request = Request::from_parts(parts, body);
        ResponseFuture::new(run(inner, request, identity, Arc::clone(&self.config)))
    }
}

/// Decides, and only then calls the service.
async fn run<S, ReqBody, ResBody>(
    mut inner: S,
    mut request: Request<ReqBody>,
    identity: Option<Identity>,
    config: Arc<Config>,
) -> Result<Response<ResponseBody<ResBody>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    let decision = match config.decide(identity).await {
        Verdict::Decided(decision) if decision.is_allowed() => decision,
        Verdict::Decided(decision) => return Ok(denied(&config, decision)),
        Verdict::Pass => return Ok(inner.call(request).await?.map(ResponseBody::wrapped)),
        Verdict::NoKey => return Ok(answer(StatusCode::BAD_REQUEST, NO_KEY)),
        Verdict::Unavailable => return Ok(unavailable()),
    };
    request.extensions_mut().insert(decision.clone());
    let mut response = inner.call(request).await?.map(ResponseBody::wrapped);
    tell(&config, &mut response, decision);
    Ok(response)
}

fn denied<B>(config: &Config, decision: Decision) -> Response<ResponseBody<B>> {
    tracing::debug!(
        target: "tower_fred::rate_limit",
        policy = decision.standing().policy(),
        retry_after = ?decision.retry_after(),
        "denied"
    );
    let mut response = answer(StatusCode::TOO_MANY_REQUESTS, DENIED);
    tell(config, &mut response, decision);
    response
}

fn unavailable<B>() -> Response<ResponseBody<B>> {
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE);
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(header::RETRY_AFTER, soon);
    response
}

/// Adds the decision to a response, in words for the client and as data for the layers around this one.
fn tell<B>(config: &Config, response: &mut Response<B>, decision: Decision) {
    config.fields.append(response.headers_mut(), &decision);
    // A denial by an inner limit is what the response is about.
    if response.extensions().get().is_none_or(Decision::is_allowed) {
        response.extensions_mut().insert(decision);
    }
}

fn answer<B>(status: StatusCode, text: &'static str) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::own(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

impl<S: Clone, K> Clone for RateLimit<S, K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            key: Arc::clone(&self.key),
            config: Arc::clone(&self.config),
        }
    }
}

impl<S: fmt::Debug, K> fmt::Debug for RateLimit<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("inner", &self.inner)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

const DENIED: &str = "too many requests\n";
const NO_KEY: &str = "the request lacks what its rate limit is counted by\n";
const UNAVAILABLE: &str = "rate limits cannot be checked at the moment\n";

const _: () = {
    const fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<RateLimit<()>>();
};
