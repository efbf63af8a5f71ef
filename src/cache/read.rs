//! Reading: from the cache, or from the handler and into the cache.

use std::{future::poll_fn, pin::pin, task::ready};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header, response::Parts};
use http_body::Body;
use tokio::runtime::Handle;
use tower_service::Service;

use super::{
    answer::{self, Asked},
    body::{CacheBody, Copying},
    config::Shared,
    control::Control,
    demands::{Choice, Demands},
    fill::{self, Fill},
    freshness::Times,
    key::Key,
    lookup::{Found, lookup},
    policy::{Refusal, Reply, Verdict, judge},
    service::{Answer, pass, unix_millis},
    status::{CacheStatus, Forward},
    targeted::Stated,
    validation::{self, After},
};
use crate::{
    personal::Personal,
    store::{Head, Slot, Stored, Variants},
};

/// A request that may be answered from the cache, and what was found for it.
struct Exchange {
    shared: Shared,
    key: Key,
    demands: Demands,
    asked: Asked,
    slot: Slot,
    variants: Option<Variants>,
}

/// Answers from the cache, or lets the handler answer and stores that.
pub(crate) async fn read<S, ReqBody, B>(
    inner: S,
    request: Request<ReqBody>,
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
    let demands = Demands::of(request.headers(), shared.config.client_directives);
    let found = match lookup(&shared, &key, request.headers()).await {
        Ok(found) => found,
        Err(_) if demands.only_if_cached() => return Ok(refused()),
        Err(error) => {
            tracing::debug!(target: "tower_fred::cache", %error, "the cache is unavailable");
            return pass(inner, request, Forward::Bypass, Some("unavailable")).await;
        }
    };
    let Found {
        answer,
        slot,
        variants,
    } = found;
    let exchange = Exchange {
        asked: Asked::new(request.method(), request.headers()),
        shared,
        key,
        demands,
        slot,
        variants,
    };
    let stored = match answer {
        Ok(stored) => stored,
        Err(why) => return exchange.ask(inner, request, None, why).await,
    };
    let now_ms = unix_millis();
    let forbids = || exchange.forbids_stale(&stored.head.headers);
    match exchange.demands.choose(&stored.head.life, now_ms, forbids) {
        Choice::Ask(why) => exchange.ask(inner, request, Some(stored), why).await,
        Choice::Use => Ok(exchange.hit(stored, now_ms)),
        Choice::UseAndRefresh => {
            let answer = exchange.hit(stored.clone(), now_ms);
            exchange.refresh(inner, request, stored);
            Ok(answer)
        }
    }
}

impl Exchange {
    fn hit<B>(&self, stored: Stored, now_ms: u64) -> (Response<CacheBody<B>>, CacheStatus) {
        let status = CacheStatus::hit(&stored.head.life, now_ms);
        (answer::from_stored(stored, &self.asked, now_ms), status)
    }

    fn forbids_stale(&self, stored: &HeaderMap) -> bool {
        let targets = &self.shared.config.policy.targets;
        Stated::of(stored, targets).directives.forbids_stale()
    }

    /// Makes a stale entry anew in the background, unless that is being done already. The request is not needed for
    /// anything else: its client has its answer.
    fn refresh<S, ReqBody, B>(self, inner: S, mut request: Request<ReqBody>, stored: Stored)
    where
        S: Service<Request<ReqBody>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        ReqBody: Send + 'static,
        B: Body + Send + 'static,
        B::Data: From<Bytes>,
    {
        let Some(turn) = self.shared.memory.refresh(*self.slot.digest()) else {
            return;
        };
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        // HEAD would make only half of it.
        *request.method_mut() = Method::GET;
        let exchange = Self {
            asked: Asked::new(request.method(), request.headers()),
            ..self
        };
        runtime.spawn(async move {
            let _turn = turn;
            let answer = exchange.ask(inner, request, Some(stored), Forward::Stale);
            let response = match answer.await {
                Ok((response, _)) => response,
                Err(_) => return,
            };
            let mut body = pin!(response.into_body());
            // A body is stored when it is read.
            poll_fn(|cx| {
                while let Some(Ok(_)) = ready!(body.as_mut().poll_frame(cx)) {}
                std::task::Poll::Ready(())
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
        stored: Option<Stored>,
        why: Forward,
    ) -> Answer<B, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
        B: Body,
    {
        if self.demands.only_if_cached() {
            return Ok(refused());
        }
        let validates = !self.asked.is_head()
            && stored
                .as_ref()
                .is_some_and(|stored| validation::ask(request.headers_mut(), &stored.head.headers));
        let personal = Personal::of(request.extensions_mut());
        let sent_ms = unix_millis();
        let answered = inner.call(request).await;
        let times = Times {
            sent_ms,
            received_ms: unix_millis(),
        };
        let (mut answer, body) = match (answered, stored.as_ref()) {
            (Ok(answered), _) => answered.into_parts(),
            // RFC 9111 §4.2.4: the handler is out of reach
            (Err(_), Some(stored)) if !self.forbids_stale(&stored.head.headers) => {
                return Ok(self.stand_in(stored.clone(), why, None, times.received_ms));
            }
            (Err(error), _) => return Err(error),
        };
        let control = Control::take(&mut answer.extensions);
        let news = News {
            times,
            personal,
            control,
            why,
        };
        let Some(stored) = stored else {
            return Ok(self.pass_on(news, answer, body));
        };
        match self.after(validates, &stored, &answer, times) {
            After::Confirmed => Ok(self.freshen(news, &answer, stored).await),
            After::Contradicted => {
                self.forget().await;
                let mut response = answer::from_stored(stored, &self.asked, times.received_ms);
                response.headers_mut().remove(header::AGE);
                let status = CacheStatus::forwarded(why).status(answer.status);
                Ok((response, status))
            }
            After::Failed => Ok(self.stand_in(stored, why, Some(answer.status), times.received_ms)),
            After::HeadConfirmed => {
                let (_, status) = self.freshen::<B>(news, &answer, stored).await;
                Ok((answer_head(answer, body), status))
            }
            After::HeadContradicted => {
                self.forget().await;
                let status = CacheStatus::forwarded(why);
                Ok((answer_head(answer, body), status))
            }
            After::New => {
                let outdates = self.outdates(&news, &answer);
                let answered = self.pass_on(news, answer, body);
                if outdates && !answered.1.is_stored() {
                    self.forget().await;
                }
                Ok(answered)
            }
        }
    }

    /// What an answer means for what is stored.
    fn after(&self, validates: bool, stored: &Stored, answer: &Parts, times: Times) -> After {
        let stands_in = || {
            self.demands
                .stands_in(&stored.head.life, times.received_ms, || {
                    self.forbids_stale(&stored.head.headers)
                })
        };
        let question = if validates {
            validation::Question::Conditional
        } else if self.asked.is_head() {
            validation::Question::Head {
                length: stored.body.len(),
            }
        } else {
            validation::Question::Plain
        };
        validation::after(
            question,
            &stored.head.headers,
            answer.status,
            &answer.headers,
            stands_in,
        )
    }

    /// A stored answer in place of an error.
    fn stand_in<B>(
        &self,
        stored: Stored,
        why: Forward,
        error: Option<http::StatusCode>,
        now_ms: u64,
    ) -> (Response<CacheBody<B>>, CacheStatus) {
        let status = CacheStatus::forwarded(why).detail("stale-if-error");
        let status = error.map_or(status, |error| status.status(error));
        (answer::from_stored(stored, &self.asked, now_ms), status)
    }

    /// The handler confirmed what is stored: brings its fields up to date, and answers with it (RFC 9111 §4.3.4).
    async fn freshen<B>(
        &self,
        news: News,
        answer: &Parts,
        stored: Stored,
    ) -> (Response<CacheBody<B>>, CacheStatus) {
        let received = news.times.received_seconds();
        let fields = validation::freshened(&stored.head.headers, &answer.headers, received);
        let mut lasting = fields.clone();
        // For this client, as in any other answer.
        lasting.remove(header::SET_COOKIE);
        let mut parts = Response::new(()).into_parts().0;
        (parts.status, parts.headers) = (stored.head.status, lasting);
        let verdict = self.judge(&news, &parts);
        let fill = verdict
            .as_ref()
            .ok()
            .and_then(|verdict| self.fill(&news, &parts, verdict));
        let status = CacheStatus::forwarded(news.why)
            .status(answer.status)
            .stored(fill.is_some());
        if let Some(mut fill) = fill {
            fill.push(&stored.body);
            fill.finish();
        } else if matches!(verdict, Err(Refusal::Response(_))) {
            self.forget().await;
        }
        let mut life = stored.head.life;
        life.born_ms = news.times.received_ms;
        life.initial_age_ms = super::freshness::initial_age_ms(&fields, news.times);
        let shown = Stored {
            head: Head {
                status: stored.head.status,
                headers: fields,
                life,
            },
            body: stored.body,
        };
        let now_ms = news.times.received_ms;
        (answer::from_stored(shown, &self.asked, now_ms), status)
    }

    /// The handler's own answer, copied into the cache if it may be.
    fn pass_on<B: Body>(
        &self,
        news: News,
        answer: Parts,
        body: B,
    ) -> (Response<CacheBody<B>>, CacheStatus) {
        // An answer to HEAD says too little to be stored.
        let verdict = if self.asked.is_head() {
            Err(Refusal::Request("head"))
        } else {
            self.judge(&news, &answer)
        };
        let copying = match verdict {
            Ok(verdict) => {
                let limit = self.shared.config.max_body;
                Copying::new(&answer.headers, &body.size_hint(), limit, || {
                    self.fill(&news, &answer, &verdict)
                })
            }
            Err(refusal) => {
                tracing::debug!(target: "tower_fred::cache", why = refusal.why(), "not stored");
                None
            }
        };
        let status = CacheStatus::forwarded(news.why).stored(copying.is_some());
        let body = match copying {
            Some(copying) => CacheBody::copied(body, copying),
            None => CacheBody::wrapped(body),
        };
        (Response::from_parts(answer, body), status)
    }

    /// Whether the handler's answer makes what is stored outdated, without taking its place.
    fn outdates(&self, news: &News, answer: &Parts) -> bool {
        let says_nothing = matches!(answer.status.as_u16(), 206 | 304 | 412 | 416);
        news.why == Forward::Stale
            && !says_nothing
            && !validation::is_failure(answer.status)
            && matches!(self.judge(news, answer), Err(Refusal::Response(_)))
    }

    fn judge(&self, news: &News, answer: &Parts) -> Result<Verdict, Refusal> {
        let control = match &news.control {
            Control::Leave(why) => return Err(Refusal::Response(why)),
            Control::Store(control) => Some(control),
            Control::Nothing => None,
        };
        // The handler used the session, so its answer is for nobody else.
        if news.personal.is_set() {
            return Err(Refusal::Request("session"));
        }
        let reply = Reply {
            demands: &self.demands,
            request: self.asked.headers(),
            status: answer.status,
            headers: &answer.headers,
            times: news.times,
            control,
        };
        judge(&reply, &self.shared.config.policy)
    }

    fn fill(&self, news: &News, answer: &Parts, verdict: &Verdict) -> Option<Fill> {
        let context = fill::Context {
            key: &self.key,
            request: self.asked.headers(),
            variants: self.variants.as_ref(),
            times: news.times,
            personal: &news.personal,
        };
        Fill::new(&self.shared, context, answer, verdict)
    }

    /// Takes out what was found.
    async fn forget(&self) {
        if let Err(error) = self.shared.remote.delete(&self.slot).await {
            tracing::warn!(target: "tower_fred::cache", %error, "an outdated response may still be in the cache");
        }
    }
}

/// What came with the handler's answer.
struct News {
    times: Times,
    personal: Personal,
    control: Control,
    why: Forward,
}

fn answer_head<B>(answer: Parts, body: B) -> Response<CacheBody<B>> {
    Response::from_parts(answer, CacheBody::wrapped(body))
}

/// RFC 9111 §5.2.1.7
fn refused<B>() -> (Response<CacheBody<B>>, CacheStatus) {
    (answer::refused(), CacheStatus::refused())
}
