//! The service: a session before the handler, its changes and cookie after it.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, request::Parts};
use tower_service::Service;

use super::{
    cookie::{cookie::candidates, headers},
    handle::session::{Session, Told},
    layer::{SessionLayer, Shared},
    nested,
    state::state::Sending,
};
use crate::{
    body::ResponseBody,
    error::Error,
    future::ResponseFuture,
    log_pace::{LogPace, uptime},
    personal::Personal,
};

/// The service that [`SessionLayer`] makes. See the [module](crate::session).
#[derive(Clone, Debug)]
pub struct Sessions<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Sessions<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
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
        let shared = Arc::clone(&self.shared);
        let (mut parts, body) = req.into_parts();
        let outer = nested::outer(&parts.extensions, &shared);
        let is_ours = outer.is_none();
        let session =
            outer.unwrap_or_else(|| Session::new(Arc::clone(&shared), told(&mut parts, &shared)));
        (shared.place.give)(&mut parts.extensions, session.clone());
        // Called at once, so the service that was made ready is the one that is used.
        let response = self.inner.call(Request::from_parts(parts, body));
        if is_ours {
            ResponseFuture::new(run(response, session, shared))
        } else {
            // The outer layer writes the session and sets its cookie.
            ResponseFuture::new(async { Ok(response.await?.map(ResponseBody::wrapped)) })
        }
    }
}

/// What the request says of its session.
fn told(parts: &mut Parts, shared: &Shared) -> Told {
    let tokens = candidates(&parts.headers, shared.cookie.name());
    let describe = shared.describe.as_ref().filter(|_| !tokens.is_empty());
    Told {
        client: describe.map(|describe| describe.call(parts)),
        #[cfg(feature = "tower-sessions-import")]
        legacy: shared
            .import
            .as_ref()
            .and_then(|import| import.of(&parts.headers)),
        outer: (shared.place.find)(&parts.extensions).cloned(),
        personal: Personal::of(&mut parts.extensions),
        tokens,
    }
}

async fn run<B, E>(
    response: impl Future<Output = Result<Response<B>, E>>,
    session: Session,
    shared: Arc<Shared>,
) -> Result<Response<ResponseBody<B>>, E> {
    let result = response.await.map(Response::into_parts);
    let kept = matches!(&result, Ok((head, _)) if shared.commits.call(head));
    let (written, sending) = session.conclude(kept).await;
    let failure = written
        .err()
        .and_then(|error| judge(error, &sending, &shared));
    let mut response = match (result, failure) {
        (Ok(_), Some(error)) => error.response().map(ResponseBody::own),
        (result, _) => {
            let (head, body) = result?;
            Response::from_parts(head, ResponseBody::wrapped(body))
        }
    };
    if let Some(held) = sending.touch {
        let store = shared.store.clone();
        tokio::spawn(async move { store.touch(&held).await });
    }
    #[cfg(feature = "tower-sessions-import")]
    session.forget_imported(response.headers_mut());
    headers::write(
        response.headers_mut(),
        &shared.cookie,
        sending.cookie.as_ref(),
        sending.read,
    );
    Ok(response)
}

/// Whether the response must not claim that all went well, and logs why.
fn judge(error: Error, sending: &Sending, shared: &Shared) -> Option<Error> {
    let is_outage = error.is_unavailable() && shared.anonymous_on_failure && !sending.logout_failed;
    if error.is_interrupted() || is_outage {
        if let Some(omitted) = DROPPED.admit(uptime()) {
            tracing::warn!(target: "tower_fred::session", %error, omitted, "changes dropped");
        }
        return None;
    }
    if error.is_forbidden() {
        tracing::debug!(target: "tower_fred::session", %error, "login refused");
    } else if !error.is_unavailable() {
        // A client that fills its own session gets here at will.
        if let Some(omitted) = LOST.admit(uptime()) {
            tracing::error!(target: "tower_fred::session", %error, omitted, "changes lost");
        }
    }
    Some(error)
}

static DROPPED: LogPace = LogPace::new();
static LOST: LogPace = LogPace::new();

const _: () = {
    const fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<SessionLayer>();
    shared::<Sessions<()>>();
    shared::<Session>();
};
