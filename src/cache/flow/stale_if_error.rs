//! Sparing a handler that fails: what is stored stands in, and one request at a time asks whether it is well again.

use std::time::Instant;

use super::exchange::{Exchange, Inquiry, Next};
use crate::{
    cache::{
        rfc::cache_status::Forward,
        state::{
            failures::{Kind, Leave},
            lookup::{self, Place},
        },
    },
    store::unix_millis,
};

impl Exchange {
    /// What this request, which is about to ask the handler, does instead; `None` when it is to ask as usual.
    pub(crate) async fn spared(
        &self,
        why: Forward,
        place: &Place,
        answer: Option<&lookup::Answer>,
    ) -> Option<Next> {
        let (shared, answer) = (&self.shared, answer?);
        let stand_in = || Some(Next::StandIn(answer.stored.clone()));
        let probe = match self.leave(place, answer) {
            Leave::Ask => return None,
            Leave::Wait => return stand_in(),
            Leave::Probe(probe) => probe,
        };
        // Of several processes one asks. In a box, as it is large and seldom needed.
        let lead = match Box::pin(shared.store.renew(&place.slot, &answer.usable)).await {
            Some(lead) => lead,
            None if probe.yields(Instant::now(), shared.config.error_pause) => return stand_in(),
            None => shared.store.aside(&place.slot, place.seen.clone()),
        };
        Some(Next::Ask(Inquiry {
            why,
            place: place.clone(),
            lead,
            answer: Some(answer.clone()),
            _probe: Some(probe),
        }))
    }

    fn leave(&self, place: &Place, answer: &lookup::Answer) -> Leave {
        let stands_in = |kind| self.stands_in(answer, kind, unix_millis());
        let failures = &self.shared.failures;
        failures.leave(place.slot.digest(), Instant::now(), stands_in)
    }

    /// Whether a stored answer may be used after a failure of this kind (RFC 5861 §4, RFC 9111 §4.2.4).
    pub(crate) fn stands_in(&self, answer: &lookup::Answer, kind: Kind, now_ms: u64) -> bool {
        let head = &answer.stored.head;
        let forbids = || self.forbids_stale(&head.headers);
        match kind {
            Kind::Service => !forbids(),
            Kind::Status => self
                .demands
                .stands_in(&head.life, answer.state(), now_ms, forbids),
        }
    }

    /// The handler failed, and what is stored stands in: it is left alone for a while.
    pub(crate) fn note_failure(&self, inquiry: &Inquiry, kind: Kind) {
        let Self { shared, .. } = self;
        let (pause, key) = (shared.config.error_pause, inquiry.place.slot.digest());
        shared.failures.note(key, kind, Instant::now(), pause);
    }
}
