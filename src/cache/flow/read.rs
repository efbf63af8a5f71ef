//! Reading: from the cache, or from the handler and into the cache.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Poll, ready},
};

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, header};
use http_body::Body;
use tower_service::Service;

use super::{
    answer,
    exchange::{Exchange, Inquiry, Next},
    pass::{Answer, pass},
};
use crate::{
    cache::{
        fill::body::CacheBody,
        rfc::{
            cache_status::{CacheStatus, Forward},
            request_directives::Demands,
        },
        state::{
            lookup::{self, Place},
            shared::Shared,
        },
    },
    store::{Digest, Key, Stored, unix_millis},
};

/// Answers from the cache, or lets the handler answer and stores that.
pub(crate) async fn read<S, ReqBody, B>(
    inner: S,
    mut request: Request<ReqBody>,
    shared: Shared,
    key: Key,
    origin: Digest,
) -> Answer<B, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    ReqBody: Send + 'static,
    B: Body + Send + 'static,
    B::Data: From<Bytes>,
    B::Error: Send,
{
    let exchange = Exchange {
        demands: Demands::of(request.headers(), shared.config.client_directives),
        method: request.method().clone(),
        headers: request.headers().clone(),
        shared,
        key,
        origin,
    };
    let (next, waited) = exchange.decide(request.extensions_mut()).await;
    match next {
        Next::Use(stored) => Ok(exchange.hit(&stored, waited)),
        Next::StandIn(stored) => {
            let (response, status) = exchange.hit(&stored, waited);
            Ok((response, status.detail("stale-if-error")))
        }
        Next::Refresh(place, answer) => {
            let response = exchange.hit(&answer.stored, waited);
            exchange.refresh(inner, request, place, answer);
            Ok(response)
        }
        // In a box, as it is large and hits do not need it.
        Next::Ask(inquiry) => Box::pin(exchange.ask(inner, request, inquiry)).await,
        // RFC 9111 §5.2.1.7
        Next::Refuse => Ok((answer::refused(), CacheStatus::refused())),
        Next::Pass => pass(inner, request, Forward::Bypass, Some("unavailable")).await,
    }
}

impl Exchange {
    fn hit<B>(
        &self,
        stored: &Stored,
        waited: Option<Forward>,
    ) -> (Response<CacheBody<B>>, CacheStatus) {
        let now_ms = unix_millis();
        let status = match waited {
            Some(why) => CacheStatus::forwarded(why).collapsed(),
            None => CacheStatus::hit(&stored.head.life, now_ms),
        };
        (answer::from_stored(stored, self.asked(), now_ms), status)
    }

    /// Makes a stale entry anew in the background, unless that is being done already. The request is not needed for
    /// anything else: its client has its answer.
    fn refresh<S, ReqBody, B>(
        self,
        inner: S,
        mut request: Request<ReqBody>,
        place: Place,
        answer: lookup::Answer,
    ) where
        S: Service<Request<ReqBody>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        ReqBody: Send + 'static,
        B: Body + Send + 'static,
        B::Data: From<Bytes>,
        B::Error: Send,
    {
        let store = self.shared.store.clone();
        let (slot, usable) = (place.slot.clone(), answer.usable.clone());
        // What one client wants is nothing to the others. HEAD would make only half of it.
        *request.method_mut() = Method::GET;
        for name in CLIENTS_OWN {
            request.headers_mut().remove(name);
        }
        let mut shared = self.shared;
        shared.store = store.without_tasks();
        let exchange = Self {
            demands: Demands::of(request.headers(), false),
            method: Method::GET,
            shared,
            ..self
        };
        store.refresh(slot, usable, |lead, _| async move {
            let inquiry = Inquiry {
                why: Forward::Stale,
                place,
                lead,
                answer: Some(answer),
                _probe: None,
            };
            let Ok((response, _)) = exchange.ask(inner, request, inquiry).await else {
                return;
            };
            let mut body = pin!(response.into_body());
            // A body is stored when it is read, if it is to be.
            poll_fn(|cx| {
                while body.is_copied() {
                    if !matches!(ready!(body.as_mut().poll_frame(cx)), Some(Ok(_))) {
                        break;
                    }
                }
                Poll::Ready(())
            })
            .await;
        });
    }
}

/// What would make the answer to a refresh one for a single client.
const CLIENTS_OWN: [HeaderName; 8] = [
    header::CACHE_CONTROL,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::PRAGMA,
    header::RANGE,
];
