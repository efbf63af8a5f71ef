//! The second request to the handler, without conditions: it is needed when the 304 to the first one does not select the
//! stored answer (RFC 9111 §4.3.4).

use std::{any::Any, future::poll_fn, mem};

use http::{HeaderName, Request, Response, StatusCode, header};
use http_body::Body;
use tower_service::Service;

use super::{
    answer,
    ask::ResponseNotes,
    exchange::{Exchange, Forwarding},
    pass::Answer,
};
use crate::{
    cache::{
        fill::body::CacheBody,
        rfc::{cache_status::CacheStatus, freshness::Times},
        rules::{config::Config, control::Control},
    },
    personal::Personal,
    store::{Seen, unix_millis},
};

impl Exchange {
    /// A copy of the request without the conditions of the client and of this cache; `None` if the cache cannot make a body
    /// of this type.
    pub(crate) fn unconditional<ReqBody: 'static>(
        &self,
        request: &Request<ReqBody>,
    ) -> Option<Request<ReqBody>> {
        let body = empty_body(&self.shared.config)?;
        let mut again = Request::new(body);
        again.method_mut().clone_from(request.method());
        again.uri_mut().clone_from(request.uri());
        *again.version_mut() = request.version();
        again.headers_mut().clone_from(request.headers());
        again.extensions_mut().clone_from(request.extensions());
        for name in CONDITIONS {
            again.headers_mut().remove(name);
        }
        Some(again)
    }

    /// Sends `request` to the handler. Its answer replaces the stored one, which the 304 contradicted.
    pub(crate) async fn ask_again<S, ReqBody, B>(
        self,
        mut inner: S,
        request: Request<ReqBody>,
        personal: Personal,
        mut forwarding: Forwarding,
    ) -> Answer<B, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
        B: Body + Send + 'static,
        B::Error: Send,
    {
        self.forget(&forwarding).await;
        // A request that waits for this one may hold what the service needs to become ready, such as a permit. To prevent
        // a deadlock, no request waits any longer.
        let aside = self
            .shared
            .store
            .aside(&forwarding.place.slot, Seen::Nothing);
        mem::replace(&mut forwarding.lead, aside).uncacheable();
        poll_fn(|cx| inner.poll_ready(cx)).await?;
        let sent_ms = unix_millis();
        let (mut answer, body) = inner.call(request).await?.into_parts();
        let times = Times {
            sent_ms,
            received_ms: unix_millis(),
        };
        if answer.status == StatusCode::NOT_MODIFIED {
            // There was no condition in the request: the client cannot use a 304.
            return Ok(self.cannot_ask_again(forwarding).await);
        }
        let notes = ResponseNotes {
            times,
            personal,
            control: Control::take(&mut answer.extensions),
        };
        Ok(self.pass_on(notes, forwarding, answer, body).await)
    }

    /// Answers when the cache cannot ask again, or got a 304 again: with the stored answer if it may be used stale, else with
    /// 502. The stored answer is removed, so that the next request has no conditions.
    pub(crate) async fn cannot_ask_again<B>(
        &self,
        forwarding: Forwarding,
    ) -> (Response<CacheBody<B>>, CacheStatus) {
        self.forget(&forwarding).await;
        let answer = forwarding.answer.as_ref();
        if answer.is_none_or(|known| self.forbids_stale(&known.stored.head.headers)) {
            return contradicted(forwarding);
        }
        let status = CacheStatus::forwarded(forwarding.why)
            .status(StatusCode::NOT_MODIFIED)
            .detail(CONTRADICTED);
        self.stand_in(forwarding, status)
    }
}

/// RFC 9111 §5.2.2.2: an error, because the stored answer must not be used without a successful validation.
fn contradicted<B>(forwarding: Forwarding) -> (Response<CacheBody<B>>, CacheStatus) {
    forwarding.lead.uncacheable();
    let status = CacheStatus::forwarded(forwarding.why)
        .status(StatusCode::NOT_MODIFIED)
        .detail(CONTRADICTED);
    (answer::bad_gateway(), status)
}

/// An empty body of type `B`, if the cache knows how to make one.
fn empty_body<B: 'static>(config: &Config) -> Option<B> {
    let text: fn() -> String = String::new;
    #[cfg(feature = "axum")]
    let axum: fn() -> axum::body::Body = axum::body::Body::empty;
    let known: &[&dyn Any] = &[
        &text,
        #[cfg(feature = "axum")]
        &axum,
    ];
    let given = config.empty_body.as_deref();
    let given = given.map(|given| -> &dyn Any { given });
    let mut all = given.into_iter().chain(known.iter().copied());
    let make = all.find_map(|make| make.downcast_ref::<fn() -> B>())?;
    Some(make())
}

/// With these fields the handler may give an answer that other requests cannot use.
const CONDITIONS: [HeaderName; 4] = [
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::RANGE,
];

const CONTRADICTED: &str = "contradicted";
