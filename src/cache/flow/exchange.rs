//! Decides how a request that may be answered from the cache gets its answer.

use http::{Extensions, HeaderMap, HeaderName, Method, header};

use super::answer::Asked;
use crate::{
    cache::{
        fill::handover::Handover,
        rfc::{
            cache_status::Forward,
            request_directives::{Choice, RequestDirectives},
            targeted::Stated,
        },
        state::{
            failures::Probe,
            lookup::{self, Found, Place},
            shared::Shared,
        },
    },
    error::Error,
    store::{Budget, Digest, Key, Lead, Stored, Turn, Usable, unix_millis},
};

/// A request that may be answered from the cache.
pub(crate) struct Exchange {
    pub(crate) shared: Shared,
    pub(crate) key: Key,
    /// Cache groups are valid within this origin only.
    pub(crate) origin: Digest,
    pub(crate) directives: RequestDirectives,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
}

/// A request to the handler: why it is made, and the lead by which its answer is stored.
pub(crate) struct Forwarding {
    pub(crate) why: Forward,
    pub(crate) place: Place,
    pub(crate) lead: Lead,
    pub(crate) answer: Option<lookup::Answer>,
    /// Set when the handler has failed before; then only the request with the probe asks it.
    pub(crate) _probe: Option<Probe>,
}

/// How a request is to be answered.
pub(crate) enum Next {
    /// With the stored answer.
    Use(Stored),
    /// With the stored answer, because the handler failed a moment ago.
    StandIn(Stored),
    /// With the stored answer, which is refreshed in the background.
    Refresh(Place, lookup::Answer),
    /// By the handler, whose answer may be stored.
    Ask(Forwarding),
    /// With 504: the client wants only a stored answer, and there is none.
    Refuse,
    /// By the handler, without the cache.
    Pass,
}

impl Exchange {
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            is_head: self.method == Method::HEAD,
            headers: &self.headers,
        }
    }

    /// Looks for a stored answer, or waits for one that another request is getting. The second value is set if this request
    /// has waited: it says why it needed an answer of the handler.
    pub(crate) async fn decide(&self, extensions: &mut Extensions) -> (Next, Option<Forward>) {
        let (mut waited, mut followed) = (None, None);
        let mut budget = self.shared.store.budget();
        for turns_left in (0..MOST_WAITS).rev() {
            let has_followed = followed.is_some();
            let Found { answer, place } = match self.lookup(followed.take(), budget).await {
                Ok(found) => found,
                Err(_) if self.directives.only_if_cached() => return (Next::Refuse, waited),
                Err(error) => {
                    tracing::debug!(target: "tower_fred::cache", %error, "the cache is unavailable");
                    return (Next::Pass, waited);
                }
            };
            let (why, answer) = match answer {
                Err(why) => (why, None),
                Ok(answer) => match self.choose(&answer) {
                    Choice::Ask(why) => (why, Some(answer)),
                    Choice::Use => return (Next::Use(answer.stored), waited),
                    Choice::UseAndRefresh => return (Next::Refresh(place, answer), waited),
                },
            };
            if self.directives.only_if_cached() {
                return (Next::Refuse, waited);
            }
            if let Some(next) = self.spared(why, &place, answer.as_ref()).await {
                return (next, waited);
            }
            // The answer that this request waited for is no use to it; another one would not be either.
            let in_vain = has_followed && answer.is_some();
            let may_collapse = turns_left > 0 && !in_vain && self.may_collapse(why);
            let turn = self.turn(extensions, &place, may_collapse, &mut budget);
            match turn.await {
                Turn::Lead(lead) => {
                    // The request that this one waited for may have noted a failure of the handler.
                    if let Some(next) = self.spared(why, &place, answer.as_ref()).await {
                        return (next, waited);
                    }
                    let forwarding = Forwarding {
                        why,
                        place,
                        lead,
                        answer,
                        _probe: None,
                    };
                    return (Next::Ask(forwarding), waited);
                }
                Turn::Follow(usable) => {
                    waited = waited.or(Some(why));
                    followed = Some((place, usable));
                }
            }
        }
        // Not reached: in the last turn this request does not wait, and becomes the leader.
        (Next::Pass, waited)
    }

    /// Makes this request the leader, or waits for the answer of another leader.
    async fn turn(
        &self,
        extensions: &mut Extensions,
        place: &Place,
        may_collapse: bool,
        budget: &mut Budget,
    ) -> Turn {
        let store = &self.shared.store;
        if let Some(lead) = Handover::accept(extensions, &place.slot) {
            return Turn::Lead(lead);
        }
        if may_collapse {
            // Boxed: the future is large, and most requests do not need it.
            let seen = Some(place.seen.clone());
            return Box::pin(store.begin(&place.slot, seen, budget)).await;
        }
        Turn::Lead(store.aside(&place.slot, place.seen.clone()))
    }

    /// Looks up what is stored. A request that has waited begins with the entry that it was given.
    async fn lookup(
        &self,
        followed: Option<(Place, Usable)>,
        budget: Budget,
    ) -> Result<Found, Error> {
        let (shared, key, request) = (&self.shared, &self.key, &self.headers);
        match followed {
            Some((place, usable)) => {
                lookup::follow(shared, key, request, place, usable, budget).await
            }
            None => lookup::lookup(shared, key, request, budget).await,
        }
    }

    fn choose(&self, answer: &lookup::Answer) -> Choice {
        let head = &answer.stored.head;
        let forbids = || self.forbids_stale(&head.headers);
        self.directives
            .choose(&head.life, answer.state(), unix_millis(), forbids)
    }

    /// Whether this request may wait for the answer to another one (RFC 9211 §2.7 calls it collapsed). It may not if the
    /// client wants a new answer, or if the handler may answer it in a way that other requests cannot use.
    fn may_collapse(&self, why: Forward) -> bool {
        let is_plain = REQUEST_SPECIFIC
            .iter()
            .all(|name| !self.headers.contains_key(name));
        why != Forward::Request
            && !self.asked().is_head
            && is_plain
            && !self.directives.prevents_collapsing()
    }

    pub(crate) fn forbids_stale(&self, stored: &HeaderMap) -> bool {
        let targets = &self.shared.config.policy.targets;
        Stated::of(stored, targets).directives.forbids_stale()
    }
}

/// With these fields the handler may give an answer that other requests cannot use.
const REQUEST_SPECIFIC: [HeaderName; 4] = [
    header::AUTHORIZATION,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::RANGE,
];

/// How often a request looks up: it may wait for the list of `Vary` fields, and then for the answer.
const MOST_WAITS: usize = 3;
