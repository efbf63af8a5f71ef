//! Answers a `GET` or `HEAD` from the cache, or from the handler.

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
    exchange::{Exchange, Forwarding, Next},
    pass::{Answer, pass},
};
use crate::{
    cache::{
        fill::body::CacheBody,
        rfc::{
            cache_status::{CacheStatus, Forward},
            request_directives::RequestDirectives,
        },
        state::{
            lookup::{self, Place},
            shared::Shared,
        },
    },
    store::{Digest, Key, Stored, unix_millis},
};

/// Answers from the cache; if it cannot, calls the handler and stores its answer.
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
        directives: RequestDirectives::of(request.headers(), shared.config.client_directives),
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
        // Boxed: the future is large, and hits do not need it.
        Next::Ask(forwarding) => Box::pin(exchange.ask(inner, request, forwarding)).await,
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

    /// Refreshes a stale entry in the background, unless a refresh is already running. The client has its answer, so that
    /// its request can be used for this.
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
        // The new answer is for all clients: without this client's directives and conditions, and with a body.
        *request.method_mut() = Method::GET;
        for name in CLIENTS_OWN {
            request.headers_mut().remove(name);
        }
        let mut shared = self.shared;
        shared.store = store.without_tasks();
        let exchange = Self {
            directives: RequestDirectives::of(request.headers(), false),
            method: Method::GET,
            shared,
            ..self
        };
        store.refresh(slot, usable, |lead, _| async move {
            let forwarding = Forwarding {
                why: Forward::Stale,
                place,
                lead,
                answer: Some(answer),
                _probe: None,
            };
            let Ok((response, _)) = exchange.ask(inner, request, forwarding).await else {
                return;
            };
            let mut body = pin!(response.into_body());
            // The answer is stored when its body has been read; one that is not copied need not be read.
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

/// With these fields the answer to a refresh could be one for this client only.
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
