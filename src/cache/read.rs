//! Reading: from the cache, or from the handler and into the cache.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, header, response::Parts};
use http_body::Body;
use tower_service::Service;

use super::{
    answer::{self, Asked},
    body::{CacheBody, Copying, Limits},
    config::Shared,
    control::Control,
    demands::{Choice, Demands},
    fill::{self, Fill},
    freshness::{Times, initial_age_ms},
    handover::Handover,
    key::Key,
    lookup::{self, Found, Place},
    policy::{Refusal, Reply, Verdict, judge},
    service::{Answer, pass},
    status::{CacheStatus, Forward},
    targeted::Stated,
    validation::{self, After, Question},
};
use crate::{
    error::Error,
    personal::Personal,
    store::{Head, Lead, Seen, Stored, Turn, unix_millis},
};

/// A request that may be answered from the cache.
struct Exchange {
    shared: Shared,
    key: Key,
    demands: Demands,
    asked: Asked,
}

/// Why the handler is asked, and with what right to store what it says.
struct Inquiry {
    why: Forward,
    place: Place,
    lead: Lead,
    answer: Option<lookup::Answer>,
}

/// Answers from the cache, or lets the handler answer and stores that.
pub(crate) async fn read<S, ReqBody, B>(
    inner: S,
    mut request: Request<ReqBody>,
    shared: Shared,
    key: Key,
) -> Answer<B, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    ReqBody: Send + 'static,
    B: Body + Send + 'static,
    B::Data: From<Bytes>,
{
    let exchange = Exchange {
        demands: Demands::of(request.headers(), shared.config.client_directives),
        asked: Asked::new(request.method(), request.headers()),
        shared,
        key,
    };
    // For whom somebody else asked, and why.
    let mut waited = None;
    for turns_left in (0..MOST_WAITS).rev() {
        let Found { answer, place } = match exchange.lookup().await {
            Ok(found) => found,
            Err(_) if exchange.demands.only_if_cached() => return Ok(refused()),
            Err(error) => {
                tracing::debug!(target: "tower_fred::cache", %error, "the cache is unavailable");
                return pass(inner, request, Forward::Bypass, Some("unavailable")).await;
            }
        };
        let (why, answer) = match answer {
            Err(why) => (why, None),
            Ok(answer) => match exchange.choose(&answer) {
                Choice::Ask(why) => (why, Some(answer)),
                Choice::Use => return Ok(exchange.hit(answer.stored, waited)),
                Choice::UseAndRefresh => {
                    let stored = answer.stored.clone();
                    let response = exchange.hit(stored, waited);
                    exchange.refresh(inner, request, place, answer);
                    return Ok(response);
                }
            },
        };
        if exchange.demands.only_if_cached() {
            return Ok(refused());
        }
        let store = &exchange.shared.store;
        let offered = Handover::accept(request.extensions_mut(), &place.slot);
        let turn = if let Some(lead) = offered {
            Turn::Lead(lead)
        } else if turns_left > 0 && exchange.may_wait(why) {
            // In a box, as it is large and seldom needed.
            Box::pin(store.begin(&place.slot, Some(place.seen.clone()))).await
        } else {
            Turn::Lead(store.aside(&place.slot, place.seen.clone()))
        };
        if let Turn::Lead(lead) = turn {
            let inquiry = Inquiry {
                why,
                place,
                lead,
                answer,
            };
            return exchange.ask(inner, request, inquiry).await;
        }
        waited = Some(waited.unwrap_or(why));
    }
    // The last turn always leads.
    pass(inner, request, Forward::Bypass, None).await
}

impl Exchange {
    async fn lookup(&self) -> Result<Found, Error> {
        lookup::lookup(&self.shared, &self.key, self.asked.headers()).await
    }

    fn choose(&self, answer: &lookup::Answer) -> Choice {
        let head = &answer.stored.head;
        let forbids = || self.forbids_stale(&head.headers);
        self.demands
            .choose(&head.life, answer.state(), unix_millis(), forbids)
    }

    /// Whether the answer to another request will do, if it may be stored. Not for a client that wants a new one, or whose
    /// request the handler may answer in a way that is no use to others.
    fn may_wait(&self, why: Forward) -> bool {
        let headers = self.asked.headers();
        let is_plain = PECULIAR.iter().all(|name| !headers.contains_key(name));
        why != Forward::Request && !self.asked.is_head() && is_plain && !self.demands.no_store
    }

    fn hit<B>(
        &self,
        stored: Stored,
        waited: Option<Forward>,
    ) -> (Response<CacheBody<B>>, CacheStatus) {
        let now_ms = unix_millis();
        let status = match waited {
            Some(why) => CacheStatus::forwarded(why).collapsed(),
            None => CacheStatus::hit(&stored.head.life, now_ms),
        };
        (answer::from_stored(stored, &self.asked, now_ms), status)
    }

    fn forbids_stale(&self, stored: &HeaderMap) -> bool {
        let targets = &self.shared.config.policy.targets;
        Stated::of(stored, targets).directives.forbids_stale()
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
    {
        let store = self.shared.store.clone();
        let renewal = store.renewal(place.slot.clone(), answer.usable.clone());
        store.spawn(async move {
            let Some((lead, _)) = renewal.await else {
                return;
            };
            // HEAD would make only half of it.
            *request.method_mut() = Method::GET;
            let exchange = Self {
                asked: Asked::new(request.method(), request.headers()),
                ..self
            };
            let inquiry = Inquiry {
                why: Forward::Stale,
                place,
                lead,
                answer: Some(answer),
            };
            let response = match exchange.ask(inner, request, inquiry).await {
                Ok((response, _)) => response,
                Err(_) => return,
            };
            let mut body = pin!(response.into_body());
            // A body is stored when it is read.
            poll_fn(|cx| {
                while let Some(Ok(_)) = ready!(body.as_mut().poll_frame(cx)) {}
                Poll::Ready(())
            })
            .await;
        });
    }

    /// Lets the handler answer, validates what is stored by it, or has its answer copied into the cache on its way to the
    /// client if it may be stored.
    async fn ask<S, ReqBody, B>(
        self,
        mut inner: S,
        mut request: Request<ReqBody>,
        mut inquiry: Inquiry,
    ) -> Answer<B, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
        B: Body,
    {
        let stored = inquiry.answer.as_ref().map(|answer| &answer.stored);
        let validates = !self.asked.is_head()
            && stored
                .is_some_and(|stored| validation::ask(request.headers_mut(), &stored.head.headers));
        let personal = Personal::of(request.extensions_mut());
        let slot = &inquiry.place.slot;
        let offer = Handover::offer(request.extensions_mut(), slot, inquiry.lead);
        let sent_ms = unix_millis();
        let (mut answer, body) = match inner.call(request).await {
            Ok(answered) => answered.into_parts(),
            Err(error) => {
                inquiry.lead = self.withdraw(offer, &inquiry.place);
                return self.out_of_reach(inquiry).ok_or(error);
            }
        };
        inquiry.lead = self.withdraw(offer, &inquiry.place);
        let times = Times {
            sent_ms,
            received_ms: unix_millis(),
        };
        let control = Control::take(&mut answer.extensions);
        let news = News {
            times,
            personal,
            control,
        };
        match self.after(validates, &inquiry, &answer, times) {
            After::Confirmed => Ok(self.freshen(news, inquiry, &answer).await),
            After::Contradicted => {
                self.forget(&inquiry).await;
                let status = CacheStatus::forwarded(inquiry.why).status(answer.status);
                Ok(self.stand_in(inquiry, status))
            }
            After::Failed => {
                let status = CacheStatus::forwarded(inquiry.why)
                    .status(answer.status)
                    .detail("stale-if-error");
                Ok(self.stand_in(inquiry, status))
            }
            After::HeadConfirmed => {
                let (_, status) = self.freshen::<B>(news, inquiry, &answer).await;
                Ok((
                    Response::from_parts(answer, CacheBody::wrapped(body)),
                    status,
                ))
            }
            After::HeadContradicted => {
                self.forget(&inquiry).await;
                let status = CacheStatus::forwarded(inquiry.why);
                Ok((
                    Response::from_parts(answer, CacheBody::wrapped(body)),
                    status,
                ))
            }
            After::New => Ok(self.pass_on(news, inquiry, answer, body).await),
        }
    }

    /// The lead that was offered; if it was taken over, one by which nothing is stored.
    fn withdraw(&self, offer: Handover, place: &Place) -> Lead {
        let nothing = || self.shared.store.aside(&place.slot, Seen::Unknown);
        offer.withdraw().unwrap_or_else(nothing)
    }

    /// RFC 9111 §4.2.4: a stale answer if that is not forbidden, when the handler gives none.
    fn out_of_reach<B>(&self, inquiry: Inquiry) -> Option<(Response<CacheBody<B>>, CacheStatus)> {
        let usable = inquiry
            .answer
            .as_ref()
            .is_some_and(|answer| !self.forbids_stale(&answer.stored.head.headers));
        if !usable {
            // Who waits need not wait for one another.
            inquiry.lead.uncacheable();
            return None;
        }
        let status = CacheStatus::forwarded(inquiry.why).detail("stale-if-error");
        Some(self.stand_in(inquiry, status))
    }

    /// What an answer means for what is stored.
    fn after(&self, validates: bool, inquiry: &Inquiry, answer: &Parts, times: Times) -> After {
        let Some(known) = &inquiry.answer else {
            return After::New;
        };
        let Stored { head, body } = &known.stored;
        let forbids = || self.forbids_stale(&head.headers);
        let stands_in = || {
            self.demands
                .stands_in(&head.life, known.state(), times.received_ms, forbids)
        };
        let question = if validates {
            Question::Conditional
        } else if self.asked.is_head() {
            Question::Head { length: body.len() }
        } else {
            Question::Plain
        };
        let (status, fields) = (answer.status, &answer.headers);
        validation::after(question, &head.headers, status, fields, stands_in)
    }

    /// What is stored, in place of what the handler said.
    fn stand_in<B>(
        &self,
        inquiry: Inquiry,
        status: CacheStatus,
    ) -> (Response<CacheBody<B>>, CacheStatus) {
        inquiry.lead.uncacheable();
        let response = match inquiry.answer {
            Some(answer) => answer::from_stored(answer.stored, &self.asked, unix_millis()),
            None => answer::refused(),
        };
        (response, status)
    }

    /// The handler confirmed what is stored: brings its fields up to date, and answers with it (RFC 9111 §4.3.4).
    async fn freshen<B>(
        &self,
        news: News,
        inquiry: Inquiry,
        answer: &Parts,
    ) -> (Response<CacheBody<B>>, CacheStatus) {
        let status = CacheStatus::forwarded(inquiry.why).status(answer.status);
        let Some(Stored { head, body }) = inquiry.answer.as_ref().map(|known| &known.stored) else {
            return self.stand_in(inquiry, status);
        };
        let received = news.times.received_seconds();
        let fields = validation::freshened(&head.headers, &answer.headers, received);
        let mut parts = Response::new(()).into_parts().0;
        (parts.status, parts.headers) = (head.status, fields.clone());
        // For this client, as in any other answer.
        parts.headers.remove(header::SET_COOKIE);
        let mut life = head.life.clone();
        life.born_ms = news.times.received_ms;
        life.initial_age_ms = initial_age_ms(&fields, news.times);
        let shown = Stored {
            head: Head {
                status: head.status,
                headers: fields,
                life,
            },
            body: body.clone(),
        };
        let verdict = self.judge(&news, &parts);
        let is_stored = match verdict {
            Ok(verdict) => {
                let context = self.context(&news, &inquiry.place);
                let begun = Fill::begin(&self.shared, context, inquiry.lead, &parts, &verdict);
                let fill = begun.await.map(|mut fill| {
                    fill.push(&shown.body);
                    fill.finish();
                });
                fill.is_some()
            }
            Err(refusal) => {
                if matches!(refusal, Refusal::Response(_)) {
                    self.forget(&inquiry).await;
                }
                inquiry.lead.uncacheable();
                false
            }
        };
        let response = answer::from_stored(shown, &self.asked, news.times.received_ms);
        (response, status.stored(is_stored))
    }

    /// The handler's own answer, copied into the cache if it may be.
    async fn pass_on<B: Body>(
        &self,
        news: News,
        inquiry: Inquiry,
        answer: Parts,
        body: B,
    ) -> (Response<CacheBody<B>>, CacheStatus) {
        let status = CacheStatus::forwarded(inquiry.why);
        // An answer to HEAD says too little to be stored.
        let verdict = if self.asked.is_head() {
            Err(Refusal::Request("head"))
        } else {
            self.judge(&news, &answer)
        };
        let limit = self.shared.config.max_body;
        let limits = Limits::of(&answer.headers, &body.size_hint(), limit);
        let copying = match (verdict, limits) {
            (Ok(verdict), Some(limits)) => {
                let context = self.context(&news, &inquiry.place);
                Fill::begin(&self.shared, context, inquiry.lead, &answer, &verdict)
                    .await
                    .map(|fill| Copying::new(fill, limits))
            }
            (verdict, _) => {
                let refusal = verdict.err().unwrap_or(Refusal::Response("length"));
                tracing::debug!(target: "tower_fred::cache", why = refusal.why(), "not stored");
                if outdates(refusal, inquiry.why, &answer) {
                    self.forget(&inquiry).await;
                }
                inquiry.lead.uncacheable();
                None
            }
        };
        let status = status.stored(copying.is_some());
        let body = match copying {
            Some(copying) => CacheBody::copied(body, copying),
            None => CacheBody::wrapped(body),
        };
        (Response::from_parts(answer, body), status)
    }

    fn context<'a>(&'a self, news: &'a News, place: &'a Place) -> fill::Context<'a> {
        fill::Context {
            key: &self.key,
            request: self.asked.headers(),
            place,
            times: news.times,
            personal: &news.personal,
        }
    }

    fn judge(&self, news: &News, answer: &Parts) -> Result<Verdict, Refusal> {
        let control = match &news.control {
            Control::Leave => return Err(Refusal::Response("NoCache")),
            // What it has stored or not is its decision.
            Control::Decided => return Err(Refusal::Request("cached further in")),
            Control::Store(control) => Some(control),
            Control::Nothing => None,
        };
        // The handler used the session, so its answer is for nobody else.
        if news.personal.is_set() {
            return Err(Refusal::Request("session"));
        }
        let reply = Reply {
            demands: &self.demands,
            origin: &self.key.origin,
            request: self.asked.headers(),
            status: answer.status,
            headers: &answer.headers,
            times: news.times,
            control,
        };
        judge(&reply, &self.shared.config.policy)
    }

    /// Takes out what was found.
    async fn forget(&self, inquiry: &Inquiry) {
        let Some(answer) = &inquiry.answer else {
            return;
        };
        let slot = &inquiry.place.slot;
        if let Err(error) = self.shared.store.discard(slot, &answer.usable).await {
            tracing::warn!(target: "tower_fred::cache", %error, "an outdated response may still be in the cache");
        }
    }
}

/// What came with the handler's answer.
struct News {
    times: Times,
    personal: Personal,
    control: Control,
}

/// Whether an answer that is not stored makes what is stored outdated.
fn outdates(refusal: Refusal, why: Forward, answer: &Parts) -> bool {
    let says_nothing = matches!(answer.status.as_u16(), 206 | 304 | 412 | 416);
    why == Forward::Stale
        && !says_nothing
        && !validation::is_failure(answer.status)
        && matches!(refusal, Refusal::Response(_))
}

/// RFC 9111 §5.2.1.7
fn refused<B>() -> (Response<CacheBody<B>>, CacheStatus) {
    (answer::refused(), CacheStatus::refused())
}

/// What a request may have that others do not.
const PECULIAR: [HeaderName; 4] = [
    header::AUTHORIZATION,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::RANGE,
];

/// For the list of fields that an answer depends on, then for the answer.
const MOST_WAITS: usize = 3;
