//! Stores the handler's answer, or freshens the stored one with it.

use http::{Response, StatusCode, header, response::Parts};
use http_body::Body;

use super::{
    answer,
    ask::ResponseNotes,
    exchange::{Exchange, Forwarding},
};
use crate::{
    cache::{
        conditional::validation,
        fill::{
            body::CacheBody,
            copy::copied,
            entry::{self, Fill},
        },
        rfc::{
            cache_status::{CacheStatus, Forward},
            freshness::initial_age_ms,
        },
        rules::{
            body_limits::Limits,
            control::{CacheFor, Control},
            storing::{Refusal, Reply, Verdict, judge},
        },
        state::lookup::Place,
    },
    store::{Head, Stored},
};

impl Exchange {
    /// The handler confirmed the stored answer: updates its fields, stores it again, and answers with it (RFC 9111 §4.3.4).
    pub(crate) async fn freshen<B>(
        &self,
        mut notes: ResponseNotes,
        forwarding: Forwarding,
        answer: &Parts,
    ) -> (Response<CacheBody<B>>, CacheStatus) {
        let status = CacheStatus::forwarded(forwarding.why).status(answer.status);
        let Some(Stored { head, body }) = forwarding.answer.as_ref().map(|known| &known.stored)
        else {
            return self.stand_in(forwarding, status);
        };
        let received = notes.times.received_seconds();
        let fields = validation::freshened(&head.headers, &answer.headers, received);
        let mut parts = Response::new(()).into_parts().0;
        (parts.status, parts.headers) = (head.status, fields.clone());
        // The cookie is for this client: it is in the answer, but does not prevent storing.
        parts.headers.remove(header::SET_COOKIE);
        let mut life = head.life.clone();
        life.born_ms = notes.times.received_ms;
        life.initial_age_ms = initial_age_ms(&fields, notes.times);
        let shown = Stored {
            head: Head {
                status: head.status,
                headers: fields,
                life,
            },
            body: body.clone(),
        };
        // The `CacheFor` of the stored answer stays valid until the handler sends another one.
        if let (Control::Nothing, Some(said)) = (&notes.control, CacheFor::remembered(&head.life)) {
            notes.control = Control::Store(said);
        }
        let verdict = self.judge(&notes, &parts);
        let outcome = match verdict {
            Ok(mut verdict) => {
                // The tags stay too, even if the handler does not repeat them.
                verdict.life.tags.extend(&head.life.tags);
                verdict.life.tags.sort_unstable();
                verdict.life.tags.dedup();
                let context = self.context(&notes, &forwarding.place);
                let begun = Fill::begin(&self.shared, context, forwarding.lead, &parts, &verdict);
                begun.await.map(|mut fill| {
                    fill.push(&shown.body);
                    fill.finish().is_stored
                })
            }
            Err(refusal) => {
                if matches!(refusal, Refusal::Response(_)) {
                    self.forget(&forwarding).await;
                }
                forwarding.lead.uncacheable();
                Err(refusal.why())
            }
        };
        let response = answer::from_stored(&shown, self.asked(), notes.times.received_ms);
        (response, tell(status, outcome))
    }

    /// Passes the handler's answer on, and copies it into the cache if it may be stored.
    pub(crate) async fn pass_on<B>(
        &self,
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
        // An answer to HEAD has no body to store.
        let verdict = if self.asked().is_head {
            Err(Refusal::Request("head"))
        } else {
            self.judge(&notes, &answer)
        };
        let limit = self.shared.config.max_body;
        let limits = Limits::of(&answer.headers, &body.size_hint(), limit);
        let fill = match (verdict, limits) {
            (Ok(verdict), Some(limits)) => {
                let context = self.context(&notes, &forwarding.place);
                let begun = Fill::begin(&self.shared, context, forwarding.lead, &answer, &verdict);
                begun.await.map(|fill| (fill, limits))
            }
            (verdict, _) => {
                let refusal = verdict.err().unwrap_or(Refusal::Response("length"));
                tracing::debug!(target: "tower_fred::cache", why = refusal.why(), "not stored");
                if outdates(refusal, forwarding.why, &answer) {
                    self.forget(&forwarding).await;
                }
                // Other requests may get an answer that can be stored, and still wait for one another.
                if !is_request_specific(refusal, &answer) {
                    forwarding.lead.uncacheable();
                }
                Err(refusal.why())
            }
        };
        let (body, outcome) = match fill {
            Ok((fill, limits)) => {
                let (body, is_stored) = copied(body, fill, limits, &self.shared.fill_tasks).await;
                (body, Ok(is_stored))
            }
            Err(why) => (CacheBody::wrapped(body), Err(why)),
        };
        (Response::from_parts(answer, body), tell(status, outcome))
    }

    fn context<'a>(&'a self, notes: &'a ResponseNotes, place: &'a Place) -> entry::Context<'a> {
        entry::Context {
            key: &self.key,
            request: &self.headers,
            place,
            times: notes.times,
            personal: &notes.personal,
        }
    }

    fn judge(&self, notes: &ResponseNotes, answer: &Parts) -> Result<Verdict, Refusal> {
        let control = match &notes.control {
            Control::NoCache => return Err(Refusal::Response("handler")),
            // An inner cache has already decided whether this answer is stored.
            Control::Decided => return Err(Refusal::Personal("inner-cache")),
            Control::Store(control) => Some(control),
            Control::Nothing => None,
        };
        // The handler used the session: its answer is for this client only.
        if notes.personal.is_set() {
            return Err(Refusal::Personal("session"));
        }
        let reply = Reply {
            request: &self.directives,
            origin: &self.origin,
            status: answer.status,
            headers: &answer.headers,
            times: notes.times,
            control,
        };
        judge(&reply, &self.shared.config.policy)
    }
}

/// Says whether the answer is stored, or why it is not.
fn tell(status: CacheStatus, outcome: Result<bool, &'static str>) -> CacheStatus {
    match outcome {
        Ok(is_stored) => status.stored(is_stored),
        Err(why) => status.detail(why),
    }
}

/// Whether an answer that is not stored shows that the stored one is outdated. It does if it describes the current state of
/// the resource, and not an error of this client or of the handler.
fn outdates(refusal: Refusal, why: Forward, answer: &Parts) -> bool {
    let status = answer.status;
    let describes_resource = (status.is_success() && status != StatusCode::PARTIAL_CONTENT)
        || (status.is_redirection() && status != StatusCode::NOT_MODIFIED)
        || matches!(status.as_u16(), 404 | 405 | 410 | 414 | 451);
    why == Forward::Stale && describes_resource && matches!(refusal, Refusal::Response(_))
}

/// Whether an answer is not stored because of this client's request, so that answers to others may be.
fn is_request_specific(refusal: Refusal, answer: &Parts) -> bool {
    matches!(refusal, Refusal::Request(_))
        || matches!(answer.status.as_u16(), 206 | 304 | 412 | 416)
}
