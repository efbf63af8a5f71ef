//! While the handler fails, stored answers are used in its place (RFC 5861 §4), and one request at a time asks it again.

use std::time::Instant;

use super::exchange::{Exchange, Forwarding, Next};
use crate::{
    cache::{
        rfc::cache_status::Forward,
        state::{
            failures::{Kind, Permission},
            lookup::{self, Place},
        },
    },
    store::unix_millis,
};

impl Exchange {
    /// For a request that is about to ask the handler: what it does instead if the handler has failed lately; `None` if it
    /// asks as usual.
    pub(crate) async fn spared(
        &self,
        why: Forward,
        place: &Place,
        answer: Option<&lookup::Answer>,
    ) -> Option<Next> {
        let (shared, answer) = (&self.shared, answer?);
        let stand_in = || Some(Next::StandIn(answer.stored.clone()));
        let probe = match self.permission(place, answer) {
            Permission::Ask => return None,
            Permission::UseStored => return stand_in(),
            Permission::Probe(probe) => probe,
        };
        // Only one process asks. Boxed: the future is large, and most requests do not need it.
        let budget = shared.store.budget();
        let renewed = shared.store.renew(&place.slot, &answer.usable, budget);
        let lead = match Box::pin(renewed).await {
            Some(lead) => lead,
            None if probe.yields(Instant::now(), shared.config.error_pause) => return stand_in(),
            None => shared.store.aside(&place.slot, place.seen.clone()),
        };
        Some(Next::Ask(Forwarding {
            why,
            place: place.clone(),
            lead,
            answer: Some(answer.clone()),
            _probe: Some(probe),
        }))
    }

    fn permission(&self, place: &Place, answer: &lookup::Answer) -> Permission {
        let stands_in = |kind| self.stands_in(answer, kind, unix_millis());
        let failures = &self.shared.failures;
        failures.permission(place.slot.digest(), Instant::now(), stands_in)
    }

    /// Whether a stored answer may be used after a failure of this kind (RFC 5861 §4, RFC 9111 §4.2.4).
    pub(crate) fn stands_in(&self, answer: &lookup::Answer, kind: Kind, now_ms: u64) -> bool {
        let head = &answer.stored.head;
        let forbids = || self.forbids_stale(&head.headers);
        match kind {
            Kind::Service => !forbids(),
            Kind::Status => self
                .directives
                .stands_in(&head.life, answer.state(), now_ms, forbids),
        }
    }

    /// Notes that the handler failed and a stored answer was used: the handler is not asked during the pause.
    pub(crate) fn note_failure(&self, forwarding: &Forwarding, kind: Kind) {
        let Self { shared, .. } = self;
        let (pause, key) = (shared.config.error_pause, forwarding.place.slot.digest());
        shared.failures.note(key, kind, Instant::now(), pause);
    }
}
