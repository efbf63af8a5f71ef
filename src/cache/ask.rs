//! Asking the handler, and what its answer means for the cache.

use http::{Request, Response, StatusCode, response::Parts};
use http_body::Body;
use tower_service::Service;

use super::{
    answer,
    body::CacheBody,
    control::Control,
    exchange::{Exchange, Inquiry},
    failures::Kind,
    freshness::Times,
    handover::Handover,
    intent::note_outdated,
    lookup::Place,
    service::Answer,
    status::CacheStatus,
    validation::{self, After, Question},
};
use crate::{
    personal::Personal,
    store::{Lead, Seen, Stored, unix_millis},
};

impl Exchange {
    /// Lets the handler answer, validates what is stored by it, or has its answer copied into the cache on its way to the
    /// client if it may be stored.
    pub(crate) async fn ask<S, ReqBody, B>(
        self,
        mut inner: S,
        mut request: Request<ReqBody>,
        mut inquiry: Inquiry,
    ) -> Answer<B, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
        ReqBody: 'static,
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let stored = inquiry.answer.as_ref().map(|answer| &answer.stored);
        // RFC 9110 §15.4.5: 304 stands for a 200
        let stored = stored.filter(|stored| stored.head.status == StatusCode::OK);
        let validates = !self.asked().is_head
            && stored
                .is_some_and(|stored| validation::ask(request.headers_mut(), &stored.head.headers));
        let mut personal = Personal::of(request.extensions_mut());
        if self.shared.config.vary_by.behind_guard {
            personal = personal.starting_now();
        }
        // With the same mark, and without the lead.
        let again = validates.then(|| self.unconditional(&request)).flatten();
        let watch = inquiry.lead.watch();
        let offer = Handover::offer(request.extensions_mut(), &inquiry.place.slot, inquiry.lead);
        let sent_ms = unix_millis();
        let (mut answer, body) = match watch.during(inner.call(request)).await {
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
        if !validation::is_failure(answer.status) {
            let failures = &self.shared.failures;
            failures.forget(inquiry.place.slot.digest());
        }
        let news = News {
            times,
            personal,
            control: Control::take(&mut answer.extensions),
        };
        let after = self.after(validates, &inquiry, &answer, times);
        if let (After::Contradicted | After::WeaklyConfirmed, Some(request)) = (after, again) {
            // What the first answer holds on to ends with it.
            drop(body);
            return Box::pin(self.ask_again(inner, request, news.personal, inquiry)).await;
        }
        Ok(self.settle(after, news, inquiry, answer, body).await)
    }

    /// The answer to the client, and what becomes of what is stored.
    async fn settle<B>(
        self,
        after: After,
        news: News,
        inquiry: Inquiry,
        answer: Parts,
        body: B,
    ) -> (Response<CacheBody<B>>, CacheStatus)
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let status = CacheStatus::forwarded(inquiry.why);
        match after {
            After::Confirmed => self.freshen(news, inquiry, &answer).await,
            After::Contradicted => self.cannot_ask_again(inquiry).await,
            After::WeaklyConfirmed => self.stand_in(inquiry, status.status(answer.status)),
            After::Failed => {
                self.note_failure(&inquiry, Kind::Status);
                let status = status.status(answer.status).detail("stale-if-error");
                self.stand_in(inquiry, status)
            }
            After::HeadConfirmed => {
                let (_, status) = self.freshen::<B>(news, inquiry, &answer).await;
                let body = CacheBody::wrapped(body);
                (Response::from_parts(answer, body), status)
            }
            After::HeadContradicted => {
                self.forget(&inquiry).await;
                let body = CacheBody::wrapped(body);
                (Response::from_parts(answer, body), status.detail("head"))
            }
            After::New => {
                let watch = inquiry.lead.watch();
                watch
                    .during(self.pass_on(news, inquiry, answer, body))
                    .await
            }
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
            .is_some_and(|answer| self.stands_in(answer, Kind::Service, unix_millis()));
        if !usable {
            // Who waits need not wait for one another.
            inquiry.lead.uncacheable();
            return None;
        }
        self.note_failure(&inquiry, Kind::Service);
        let status = CacheStatus::forwarded(inquiry.why).detail("stale-if-error");
        Some(self.stand_in(inquiry, status))
    }

    /// What an answer means for what is stored.
    fn after(&self, validates: bool, inquiry: &Inquiry, answer: &Parts, times: Times) -> After {
        let Some(known) = &inquiry.answer else {
            return After::New;
        };
        let Stored { head, body } = &known.stored;
        let stands_in = || self.stands_in(known, Kind::Status, times.received_ms);
        let question = if validates {
            Question::Conditional
        } else if self.asked().is_head && head.status == StatusCode::OK {
            Question::Head { length: body.len() }
        } else {
            Question::Plain
        };
        let (status, fields) = (answer.status, &answer.headers);
        validation::after(question, &head.headers, status, fields, stands_in)
    }

    /// What is stored, in place of what the handler said.
    pub(crate) fn stand_in<B>(
        &self,
        inquiry: Inquiry,
        status: CacheStatus,
    ) -> (Response<CacheBody<B>>, CacheStatus) {
        inquiry.lead.uncacheable();
        let response = match inquiry.answer {
            Some(answer) => answer::from_stored(&answer.stored, self.asked(), unix_millis()),
            None => answer::refused(),
        };
        (response, status)
    }

    /// Takes out what was found.
    pub(crate) async fn forget(&self, inquiry: &Inquiry) {
        let Some(answer) = &inquiry.answer else {
            return;
        };
        let slot = &inquiry.place.slot;
        if let Err(error) = self.shared.store.discard(slot, &answer.usable).await {
            note_outdated(&error);
        }
    }
}

/// What came with the handler's answer.
pub(crate) struct News {
    pub(crate) times: Times,
    pub(crate) personal: Personal,
    pub(crate) control: Control,
}
