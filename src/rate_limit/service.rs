use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body::Body;
use tower_service::Service;

use super::{
    decision::{
        decision::{Decision, Denial},
        headers,
        place_body::Held,
        places::{Place, Places},
        problem::{self, Text},
        standing::Standing,
    },
    subject::{key::Key, peer_ip::PeerIp},
    verdict::{
        config::Config,
        plan::Plan,
        verdict::{Decided, Verdict},
    },
};
use crate::{body::ResponseBody, future::ResponseFuture, personal::Personal};

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
    ReqBody: Body + Send + 'static,
    ResBody: Send + 'static,
{
    type Response = Response<ResponseBody<Held<ResBody>>>;
    type Error = S::Error;
    type Future = ResponseFuture<ResponseBody<Held<ResBody>>, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        // Use the service that was made ready; leave a fresh clone behind.
        // https://docs.rs/tower/latest/tower/trait.Service.html#be-careful-when-cloning-inner-services
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let (parts, body) = request.into_parts();
        let plan = self.config.plan(&*self.key, &parts);
        let request = Request::from_parts(parts, body);
        ResponseFuture::new(run(inner, request, plan, Arc::clone(&self.config)))
    }
}

/// Decides, and only then calls the service.
async fn run<S, ReqBody, ResBody>(
    mut inner: S,
    mut request: Request<ReqBody>,
    plan: Plan,
    config: Arc<Config>,
) -> Result<Response<ResponseBody<Held<ResBody>>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ReqBody: Body + Send + 'static,
{
    let Decided {
        mut decision,
        claims,
        cost,
        in_flight_request,
    } = match config.decide(plan).await {
        Verdict::Decided(decided) => decided,
        Verdict::Pass => {
            let response = inner.call(request).await?;
            return Ok(response.map(|body| ResponseBody::wrapped(Held::new(body, Vec::new()))));
        }
        Verdict::NoKey => {
            Personal::set_in(request.extensions());
            let answer = answer(StatusCode::BAD_REQUEST, problem::plain(NO_KEY));
            return Ok(after_drain(&config, request, answer).await);
        }
        Verdict::Unavailable => {
            let answer = unavailable(&request);
            return Ok(after_drain(&config, request, answer).await);
        }
    };
    if let Decision::Deny(denial) = decision {
        drop(in_flight_request);
        let (parts, body) = request.into_parts();
        let answer = denied(&config, &parts, denial);
        return Ok(after_drain(&config, Request::from_parts(parts, body), answer).await);
    }
    note_shadows(&decision);
    let places = decision.take_places();
    Places::add(request.extensions_mut(), &places);
    request.extensions_mut().insert(decision.clone());
    let connects = request.method() == Method::CONNECT;
    let (parts, body) = inner.call(request).await?.into_parts();
    if is_upgrade(connects, parts.status) && !places.is_empty() && !are_kept(&places) {
        config.note_upgrade();
    }
    let counts = config.count.as_ref().is_none_or(|count| count(&parts));
    if !counts && decision.standings().iter().any(Standing::is_charged) {
        // Without an answer it stays counted: no reason to fail the response.
        let _ = config.engine.refund(&claims, cost, Some(&decision)).await;
    }
    drop(in_flight_request);
    let is_denied_inside = parts.extensions.get::<Draining>().is_some();
    let places = if is_denied_inside { Vec::new() } else { places };
    let body = ResponseBody::wrapped(Held::new(body, places));
    let mut response = Response::from_parts(parts, body);
    tell(&config, &mut response, decision);
    Ok(response)
}

/// Whether the connection, or the stream of HTTP/2 (RFC 8441), goes on as something else after this response.
fn is_upgrade(connects: bool, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (connects && status.is_success())
}

/// Whether a [`PlaceGuard`](super::PlaceGuard) keeps the places.
fn are_kept(places: &[Place]) -> bool {
    places.iter().all(Place::is_shared)
}

fn denied<B>(config: &Config, parts: &request::Parts, denial: Denial) -> Response<ResponseBody<B>> {
    tracing::debug!(
        target: "tower_fred::rate_limit",
        policy = denial.standing().policy(),
        retry_after = ?denial.retry_after(),
        "denied"
    );
    // A cache further out must not give it to those who are not denied, whatever the status is.
    Personal::set_in(&parts.extensions);
    let status = match denial.is_permanent() {
        true => config.permanent_denial,
        false => StatusCode::TOO_MANY_REQUESTS,
    };
    let mut response = match &config.reject {
        None => answer(status, problem::denied(&parts.headers, &denial, status)),
        Some(reject) => reject(parts, &Decision::Deny(denial.clone())).map(ResponseBody::own),
    };
    tell(config, &mut response, Decision::Deny(denial));
    response
}

fn unavailable<ReqBody, B>(request: &Request<ReqBody>) -> Response<ResponseBody<B>> {
    Personal::set_in(request.extensions());
    let text = problem::unavailable(request.headers());
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, text);
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(header::RETRY_AFTER, soon);
    response
}

/// The answer, whose data waits until the request's body was read.
async fn after_drain<ReqBody, B>(
    config: &Config,
    request: Request<ReqBody>,
    mut answer: Response<ResponseBody<B>>,
) -> Response<ResponseBody<B>>
where
    ReqBody: Body + Send + 'static,
{
    let (request, body) = request.into_parts();
    if !config.drain.apply(&request, &body) {
        return answer;
    }
    answer.extensions_mut().insert(Draining);
    let (answer, own) = answer.into_parts();
    let drain = config.drain.drain(body);
    // A server does not poll the body of an answer to HEAD.
    let own = match request.method {
        Method::HEAD => Err((own, drain)),
        _ => own.delayed(drain),
    };
    let own = match own {
        Ok(delayed) => delayed,
        Err((own, drain)) => {
            drain.await;
            own
        }
    };
    Response::from_parts(answer, own)
}

/// Adds the decision to a response, in words for the client and as data for the layers around this one.
fn tell<B>(config: &Config, response: &mut Response<B>, decision: Decision) {
    headers::append(response.headers_mut(), &decision, &config.dialects);
    // A denial by an inner limit is what the response is about.
    if response.extensions().get().is_none_or(Decision::is_allowed) {
        response.extensions_mut().insert(decision);
    }
}

/// Logs what shadow policies would have denied.
fn note_shadows(decision: &Decision) {
    let shadows = decision.standings().iter();
    for standing in shadows.filter(|standing| standing.is_exceeded()) {
        tracing::debug!(
            target: "tower_fred::rate_limit",
            policy = standing.policy(),
            retry_after = ?Standing::wait(standing),
            "would deny"
        );
    }
}

fn answer<B>(status: StatusCode, text: Text) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::own(text.body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, text.media_type);
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

/// In the extensions of an answer that waits for the rest of its request: no handler is at work, so a limit around this one
/// does not hold a place meanwhile.
#[derive(Clone, Copy)]
struct Draining;

const NO_KEY: &str = "the request lacks what its rate limit is counted by\n";

const _: () = {
    const fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<RateLimit<()>>();
};
