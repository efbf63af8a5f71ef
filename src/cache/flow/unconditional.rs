//! Asking the handler a second time, without conditions, when its 304 is not about what is stored (RFC 9111 §4.3.4).

use std::{any::Any, future::poll_fn, mem};

use http::{HeaderName, Request, Response, StatusCode, header};
use http_body::Body;
use tower_service::Service;

use super::{
    answer,
    ask::News,
    exchange::{Exchange, Inquiry},
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
    /// The request without the conditions of the client and of this cache; `None` when there is no body to send it with.
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

    /// Lets the handler answer `request`, and has the answer stored in the place of the one that it contradicted.
    pub(crate) async fn ask_again<S, ReqBody, B>(
        self,
        mut inner: S,
        request: Request<ReqBody>,
        personal: Personal,
        mut inquiry: Inquiry,
    ) -> Answer<B, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
        B: Body + Send + 'static,
        B::Error: Send,
    {
        self.forget(&inquiry).await;
        // Who waits for this request may hold what the service needs to become ready: nobody is to wait any longer.
        let aside = self.shared.store.aside(&inquiry.place.slot, Seen::Nothing);
        mem::replace(&mut inquiry.lead, aside).uncacheable();
        poll_fn(|cx| inner.poll_ready(cx)).await?;
        let sent_ms = unix_millis();
        let (mut answer, body) = inner.call(request).await?.into_parts();
        let times = Times {
            sent_ms,
            received_ms: unix_millis(),
        };
        if answer.status == StatusCode::NOT_MODIFIED {
            // Nobody asked for that, and nobody could make anything of it.
            return Ok(self.cannot_ask_again(inquiry).await);
        }
        let news = News {
            times,
            personal,
            control: Control::take(&mut answer.extensions),
        };
        Ok(self.pass_on(news, inquiry, answer, body).await)
    }

    /// What to answer when the handler cannot be asked again, or says the same again: what is stored if that may be used
    /// stale, else 502. It is taken out, so that the next request is without conditions.
    pub(crate) async fn cannot_ask_again<B>(
        &self,
        inquiry: Inquiry,
    ) -> (Response<CacheBody<B>>, CacheStatus) {
        self.forget(&inquiry).await;
        let answer = inquiry.answer.as_ref();
        if answer.is_none_or(|known| self.forbids_stale(&known.stored.head.headers)) {
            return contradicted(inquiry);
        }
        let status = CacheStatus::forwarded(inquiry.why)
            .status(StatusCode::NOT_MODIFIED)
            .detail(CONTRADICTED);
        self.stand_in(inquiry, status)
    }
}

/// RFC 9111 §5.2.2.2: an error rather than what must not be used without a successful validation.
fn contradicted<B>(inquiry: Inquiry) -> (Response<CacheBody<B>>, CacheStatus) {
    inquiry.lead.uncacheable();
    let status = CacheStatus::forwarded(inquiry.why)
        .status(StatusCode::NOT_MODIFIED)
        .detail(CONTRADICTED);
    (answer::bad_gateway(), status)
}

/// A body for a request without content, if this type of bodies is known.
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

/// With these an answer may be one that is of no use to others.
const CONDITIONS: [HeaderName; 4] = [
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::RANGE,
];

const CONTRADICTED: &str = "contradicted";
