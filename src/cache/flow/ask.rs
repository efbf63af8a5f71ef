//! Calls the handler, and decides what its answer means for the stored one.

use http::{Request, Response, StatusCode, response::Parts};
use http_body::Body;
use tower_service::Service;

use super::{
    answer,
    exchange::{Exchange, Forwarding},
    intent::note_outdated,
    pass::Answer,
};
use crate::{
    cache::{
        conditional::validation::{self, Question, ValidationOutcome},
        fill::{body::CacheBody, handover::Handover},
        rfc::{cache_status::CacheStatus, freshness::Times},
        rules::control::Control,
        state::{failures::Kind, lookup::Place},
    },
    personal::Personal,
    store::{Lead, Seen, Stored, unix_millis},
};

impl Exchange {
    /// Calls the handler, with the validators of the stored answer if there is one (RFC 9111 §4.3.1). Its answer confirms the
    /// stored one, or is copied into the cache while the client reads it.
    pub(crate) async fn ask<S, ReqBody, B>(
        self,
        mut inner: S,
        mut request: Request<ReqBody>,
        mut forwarding: Forwarding,
    ) -> Answer<B, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
        ReqBody: 'static,
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let stored = forwarding.answer.as_ref().map(|answer| &answer.stored);
        // RFC 9110 §15.4.5: 304 stands for a 200
        let stored = stored.filter(|stored| stored.head.status == StatusCode::OK);
        let validates = !self.asked().is_head
            && stored
                .is_some_and(|stored| validation::ask(request.headers_mut(), &stored.head.headers));
        let mut personal = Personal::of(request.extensions_mut());
        if self.shared.config.vary_by.behind_guard {
            personal = personal.starting_now();
        }
        // Made here: it shares the mark for personal answers, and the lead is put into the first request only.
        let again = validates.then(|| self.unconditional(&request)).flatten();
        let watch = forwarding.lead.watch();
        let offer = Handover::offer(
            request.extensions_mut(),
            &forwarding.place.slot,
            forwarding.lead,
        );
        let sent_ms = unix_millis();
        let (mut answer, body) = match watch.during(inner.call(request)).await {
            Ok(answered) => answered.into_parts(),
            Err(error) => {
                forwarding.lead = self.withdraw(offer, &forwarding.place);
                return self.out_of_reach(forwarding).ok_or(error);
            }
        };
        forwarding.lead = self.withdraw(offer, &forwarding.place);
        let times = Times {
            sent_ms,
            received_ms: unix_millis(),
        };
        if !validation::is_failure(answer.status) {
            let failures = &self.shared.failures;
            failures.forget(forwarding.place.slot.digest());
        }
        let notes = ResponseNotes {
            times,
            personal,
            control: Control::take(&mut answer.extensions),
        };
        let outcome = self.validation_outcome(validates, &forwarding, &answer, times);
        if let (
            ValidationOutcome::Contradicted | ValidationOutcome::WeaklyConfirmed,
            Some(request),
        ) = (outcome, again)
        {
            // Frees what the first answer holds, such as a connection, before the second request.
            drop(body);
            return Box::pin(self.ask_again(inner, request, notes.personal, forwarding)).await;
        }
        Ok(self.settle(outcome, notes, forwarding, answer, body).await)
    }

    /// Updates or replaces the stored answer, and makes the answer to the client.
    async fn settle<B>(
        self,
        outcome: ValidationOutcome,
        notes: ResponseNotes,
        forwarding: Forwarding,
        answer: Parts,
        body: B,
    ) -> (Response<CacheBody<B>>, CacheStatus)
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let status = CacheStatus::forwarded(forwarding.why);
        match outcome {
            ValidationOutcome::Confirmed => self.freshen(notes, forwarding, &answer).await,
            ValidationOutcome::Contradicted => self.cannot_ask_again(forwarding).await,
            ValidationOutcome::WeaklyConfirmed => {
                self.stand_in(forwarding, status.status(answer.status))
            }
            ValidationOutcome::Failed => {
                self.note_failure(&forwarding, Kind::Status);
                let status = status.status(answer.status).detail("stale-if-error");
                self.stand_in(forwarding, status)
            }
            ValidationOutcome::HeadConfirmed => {
                let (_, status) = self.freshen::<B>(notes, forwarding, &answer).await;
                let body = CacheBody::wrapped(body);
                (Response::from_parts(answer, body), status)
            }
            ValidationOutcome::HeadContradicted => {
                self.forget(&forwarding).await;
                let body = CacheBody::wrapped(body);
                (Response::from_parts(answer, body), status.detail("head"))
            }
            ValidationOutcome::New => {
                let watch = forwarding.lead.watch();
                watch
                    .during(self.pass_on(notes, forwarding, answer, body))
                    .await
            }
        }
    }

    /// Takes back the lead that was offered to an inner cache. If that cache took it, returns one that stores nothing.
    fn withdraw(&self, offer: Handover, place: &Place) -> Lead {
        let nothing = || self.shared.store.aside(&place.slot, Seen::Unknown);
        offer.withdraw().unwrap_or_else(nothing)
    }

    /// The service returned an error: the stored answer, unless using it stale is forbidden (RFC 9111 §4.2.4).
    fn out_of_reach<B>(
        &self,
        forwarding: Forwarding,
    ) -> Option<(Response<CacheBody<B>>, CacheStatus)> {
        let usable = forwarding
            .answer
            .as_ref()
            .is_some_and(|answer| self.stands_in(answer, Kind::Service, unix_millis()));
        if !usable {
            // The requests that wait now ask the handler at once, and do not wait for each other.
            forwarding.lead.uncacheable();
            return None;
        }
        self.note_failure(&forwarding, Kind::Service);
        let status = CacheStatus::forwarded(forwarding.why).detail("stale-if-error");
        Some(self.stand_in(forwarding, status))
    }

    /// What an answer means for the stored one.
    fn validation_outcome(
        &self,
        validates: bool,
        forwarding: &Forwarding,
        answer: &Parts,
        times: Times,
    ) -> ValidationOutcome {
        let Some(known) = &forwarding.answer else {
            return ValidationOutcome::New;
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
        validation::outcome(question, &head.headers, status, fields, stands_in)
    }

    /// Answers with the stored answer in place of the handler's.
    pub(crate) fn stand_in<B>(
        &self,
        forwarding: Forwarding,
        status: CacheStatus,
    ) -> (Response<CacheBody<B>>, CacheStatus) {
        forwarding.lead.uncacheable();
        let response = match forwarding.answer {
            Some(answer) => answer::from_stored(&answer.stored, self.asked(), unix_millis()),
            None => answer::refused(),
        };
        (response, status)
    }

    /// Removes the stored answer that this request found.
    pub(crate) async fn forget(&self, forwarding: &Forwarding) {
        let Some(answer) = &forwarding.answer else {
            return;
        };
        let slot = &forwarding.place.slot;
        if let Err(error) = self.shared.store.discard(slot, &answer.usable).await {
            note_outdated(&error);
        }
    }
}

/// What the cache knows of the handler's answer besides its head and body.
pub(crate) struct ResponseNotes {
    pub(crate) times: Times,
    pub(crate) personal: Personal,
    pub(crate) control: Control,
}
