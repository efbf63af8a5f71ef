//! What comes into the cache of a handler's answer.

use http::{Response, StatusCode, header, response::Parts};
use http_body::Body;

use super::{
    answer,
    ask::News,
    exchange::{Exchange, Inquiry},
};
use crate::{
    cache::{
        conditional::validation,
        fill::{
            body::CacheBody,
            copy::copied,
            fill::{self, Fill},
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
    /// The handler confirmed what is stored: brings its fields up to date, and answers with it (RFC 9111 §4.3.4).
    pub(crate) async fn freshen<B>(
        &self,
        mut news: News,
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
        // What the handler said of it holds until it says something else.
        if let (Control::Nothing, Some(said)) = (&news.control, CacheFor::remembered(&head.life)) {
            news.control = Control::Store(said);
        }
        let verdict = self.judge(&news, &parts);
        let outcome = match verdict {
            Ok(mut verdict) => {
                // Nor does a tag end because nobody repeats it.
                verdict.life.tags.extend(&head.life.tags);
                verdict.life.tags.sort_unstable();
                verdict.life.tags.dedup();
                let context = self.context(&news, &inquiry.place);
                let begun = Fill::begin(&self.shared, context, inquiry.lead, &parts, &verdict);
                begun.await.map(|mut fill| {
                    fill.push(&shown.body);
                    fill.finish().is_stored
                })
            }
            Err(refusal) => {
                if matches!(refusal, Refusal::Response(_)) {
                    self.forget(&inquiry).await;
                }
                inquiry.lead.uncacheable();
                Err(refusal.why())
            }
        };
        let response = answer::from_stored(&shown, self.asked(), news.times.received_ms);
        (response, tell(status, outcome))
    }

    /// The handler's own answer, copied into the cache if it may be.
    pub(crate) async fn pass_on<B>(
        &self,
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
        // An answer to HEAD says too little to be stored.
        let verdict = if self.asked().is_head {
            Err(Refusal::Request("head"))
        } else {
            self.judge(&news, &answer)
        };
        let limit = self.shared.config.max_body;
        let limits = Limits::of(&answer.headers, &body.size_hint(), limit);
        let fill = match (verdict, limits) {
            (Ok(verdict), Some(limits)) => {
                let context = self.context(&news, &inquiry.place);
                let begun = Fill::begin(&self.shared, context, inquiry.lead, &answer, &verdict);
                begun.await.map(|fill| (fill, limits))
            }
            (verdict, _) => {
                let refusal = verdict.err().unwrap_or(Refusal::Response("length"));
                tracing::debug!(target: "tower_fred::cache", why = refusal.why(), "not stored");
                if outdates(refusal, inquiry.why, &answer) {
                    self.forget(&inquiry).await;
                }
                // An answer to what others do not ask says nothing of theirs.
                if !is_peculiar(refusal, &answer) {
                    inquiry.lead.uncacheable();
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

    fn context<'a>(&'a self, news: &'a News, place: &'a Place) -> fill::Context<'a> {
        fill::Context {
            key: &self.key,
            request: &self.headers,
            place,
            times: news.times,
            personal: &news.personal,
        }
    }

    fn judge(&self, news: &News, answer: &Parts) -> Result<Verdict, Refusal> {
        let control = match &news.control {
            Control::Leave => return Err(Refusal::Response("handler")),
            // What it has stored or not is its decision.
            Control::Decided => return Err(Refusal::Personal("inner-cache")),
            Control::Store(control) => Some(control),
            Control::Nothing => None,
        };
        // The handler used the session, so its answer is for nobody else.
        if news.personal.is_set() {
            return Err(Refusal::Personal("session"));
        }
        let reply = Reply {
            demands: &self.demands,
            origin: &self.origin,
            status: answer.status,
            headers: &answer.headers,
            times: news.times,
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

/// Whether an answer that is not stored makes what is stored outdated: one that says what there is now, and not what is
/// wrong with this client, or with the handler.
fn outdates(refusal: Refusal, why: Forward, answer: &Parts) -> bool {
    let status = answer.status;
    let says_what_there_is = (status.is_success() && status != StatusCode::PARTIAL_CONTENT)
        || (status.is_redirection() && status != StatusCode::NOT_MODIFIED)
        || matches!(status.as_u16(), 404 | 405 | 410 | 414 | 451);
    why == Forward::Stale && says_what_there_is && matches!(refusal, Refusal::Response(_))
}

/// Whether it is for what this client asked that an answer is not stored.
fn is_peculiar(refusal: Refusal, answer: &Parts) -> bool {
    matches!(refusal, Refusal::Request(_))
        || matches!(answer.status.as_u16(), 206 | 304 | 412 | 416)
}
