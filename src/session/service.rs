//! [`Sessions`]: gives each request its session, and writes changes and cookie before the response leaves.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, request::Parts};
use tower_service::Service;

#[cfg(feature = "tower-sessions-import")]
use super::import::legacy::Legacy;
use super::{
    cookie::{fields::candidates, response_headers},
    handle::{
        config::Config,
        session::{RequestContext, Session},
    },
    nested_layers::{self, Slot},
    state::session_state::Sending,
};
use crate::{
    body::ResponseBody,
    error::Error,
    future::ResponseFuture,
    log_pace::{LogPace, uptime},
    personal::Personal,
};

/// The service that [`SessionLayer`](super::SessionLayer) makes. See the [module](crate::session).
#[derive(Clone, Debug)]
pub struct Sessions<S> {
    inner: S,
    config: Arc<Config>,
    place: Slot,
}

impl<S> Sessions<S> {
    pub(super) fn new(inner: S, config: Arc<Config>, place: Slot) -> Self {
        Self {
            inner,
            config,
            place,
        }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Sessions<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ResBody: Send + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<ResponseBody<ResBody>, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Request<ReqBody>) -> Self::Future {
        let (config, place) = (Arc::clone(&self.config), self.place);
        let (mut parts, body) = req.into_parts();
        let outer = nested_layers::outer(&parts.extensions, &config);
        let is_ours = outer.is_none();
        let session = outer.unwrap_or_else(|| {
            Session::new(Arc::clone(&config), context(&mut parts, &config, place))
        });
        place.give(&mut parts.extensions, session.clone());
        // Called here and not in the future, so that this is the service that was polled ready.
        let response = self.inner.call(Request::from_parts(parts, body));
        if is_ours {
            ResponseFuture::new(run(response, session, config))
        } else {
            // The outer layer writes the session and sets its cookie.
            ResponseFuture::new(async { Ok(response.await?.map(ResponseBody::wrapped)) })
        }
    }
}

/// What a session needs from the request.
fn context(parts: &mut Parts, config: &Config, place: Slot) -> RequestContext {
    let tokens = candidates(&parts.headers, config.cookie.name());
    let describe = config.describe.as_ref().filter(|_| !tokens.is_empty());
    RequestContext {
        client: describe.map(|describe| describe.call(parts)),
        #[cfg(feature = "tower-sessions-import")]
        legacy: config
            .import
            .as_ref()
            .and_then(|settings| Legacy::named_in(&parts.headers, settings)),
        outer: place.find(&parts.extensions).cloned(),
        personal: Personal::of(&mut parts.extensions),
        tokens,
    }
}

async fn run<B, E>(
    response: impl Future<Output = Result<Response<B>, E>>,
    session: Session,
    config: Arc<Config>,
) -> Result<Response<ResponseBody<B>>, E> {
    let result = response.await.map(Response::into_parts);
    let kept = matches!(&result, Ok((head, _)) if config.commits.call(head));
    let (written, sending) = session.conclude(kept).await;
    let failure = written
        .err()
        .and_then(|error| judge(error, &sending, &config));
    let mut response = match (result, failure) {
        (Ok(_), Some(error)) => error.response().map(ResponseBody::own),
        (result, _) => {
            let (head, body) = result?;
            Response::from_parts(head, ResponseBody::wrapped(body))
        }
    };
    if let Some(holder) = sending.touch {
        let store = config.store.clone();
        tokio::spawn(async move { store.touch(&holder).await });
    }
    #[cfg(feature = "tower-sessions-import")]
    session.forget_imported(response.headers_mut());
    response_headers::write(
        response.headers_mut(),
        &config.cookie,
        sending.cookie.as_ref(),
        sending.read,
    );
    Ok(response)
}

/// The error with which the layer has to replace the response, if any. Logs it.
fn judge(error: Error, sending: &Sending, config: &Config) -> Option<Error> {
    let is_outage = error.is_unavailable() && config.anonymous_on_failure && !sending.logout_failed;
    if error.is_interrupted() || is_outage {
        if let Some(omitted) = DROPPED.admit(uptime()) {
            tracing::warn!(target: "tower_fred::session", %error, omitted, "changes dropped");
        }
        return None;
    }
    if error.is_forbidden() {
        tracing::debug!(target: "tower_fred::session", %error, "login refused");
    } else if !error.is_unavailable() {
        // A client can cause this as often as it likes, by filling its own session.
        if let Some(omitted) = LOST.admit(uptime()) {
            tracing::error!(target: "tower_fred::session", %error, omitted, "changes lost");
        }
    }
    Some(error)
}

static DROPPED: LogPace = LogPace::new();
static LOST: LogPace = LogPace::new();
