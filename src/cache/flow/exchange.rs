//! A request that may be answered from the cache, and the way to its answer.

use http::{Extensions, HeaderMap, HeaderName, Method, header};

use super::answer::Asked;
use crate::{
    cache::{
        fill::handover::Handover,
        rfc::{
            cache_status::Forward,
            request_directives::{Choice, Demands},
            targeted::Stated,
        },
        state::{
            failures::Probe,
            lookup::{self, Found, Place},
            shared::Shared,
        },
    },
    error::Error,
    store::{Digest, Key, Lead, Stored, Turn, Usable, unix_millis},
};

/// A request that may be answered from the cache.
pub(crate) struct Exchange {
    pub(crate) shared: Shared,
    pub(crate) key: Key,
    /// What cache groups are confined to.
    pub(crate) origin: Digest,
    pub(crate) demands: Demands,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
}

/// Why the handler is asked, and with what right to store what it says.
pub(crate) struct Inquiry {
    pub(crate) why: Forward,
    pub(crate) place: Place,
    pub(crate) lead: Lead,
    pub(crate) answer: Option<lookup::Answer>,
    /// Set when the handler has failed, and is asked by this request alone.
    pub(crate) _probe: Option<Probe>,
}

/// How a request is to be answered.
pub(crate) enum Next {
    /// With what is stored.
    Use(Stored),
    /// With what is stored, as the handler failed a moment ago.
    StandIn(Stored),
    /// With what is stored, which is to be made anew.
    Refresh(Place, lookup::Answer),
    Ask(Inquiry),
    /// Not at all: the client wants what is stored, and nothing is.
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

    /// Looks for an answer, and waits for one that another request is getting. The second value says why that was asked
    /// for, if it was waited for.
    pub(crate) async fn decide(&self, extensions: &mut Extensions) -> (Next, Option<Forward>) {
        let (mut waited, mut followed) = (None, None);
        for turns_left in (0..MOST_WAITS).rev() {
            let has_followed = followed.is_some();
            let Found { answer, place } = match self.lookup(followed.take()).await {
                Ok(found) => found,
                Err(_) if self.demands.only_if_cached() => return (Next::Refuse, waited),
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
            if self.demands.only_if_cached() {
                return (Next::Refuse, waited);
            }
            if let Some(next) = self.spared(why, &place, answer.as_ref()).await {
                return (next, waited);
            }
            // What was waited for has to be asked about: so will the next one have to be.
            let in_vain = has_followed && answer.is_some();
            let may_wait = turns_left > 0 && !in_vain && self.may_wait(why);
            match self.turn(extensions, &place, may_wait).await {
                Turn::Lead(lead) => {
                    // Whom this one has waited for may have found that the handler fails.
                    if let Some(next) = self.spared(why, &place, answer.as_ref()).await {
                        return (next, waited);
                    }
                    let inquiry = Inquiry {
                        why,
                        place,
                        lead,
                        answer,
                        _probe: None,
                    };
                    return (Next::Ask(inquiry), waited);
                }
                Turn::Follow(usable) => {
                    waited = waited.or(Some(why));
                    followed = Some((place, usable));
                }
            }
        }
        // The last turn always leads.
        (Next::Pass, waited)
    }

    /// The lead, or what another leader has found.
    async fn turn(&self, extensions: &mut Extensions, place: &Place, may_wait: bool) -> Turn {
        let store = &self.shared.store;
        if let Some(lead) = Handover::accept(extensions, &place.slot) {
            return Turn::Lead(lead);
        }
        if may_wait {
            // In a box, as it is large and seldom needed.
            return Box::pin(store.begin(&place.slot, Some(place.seen.clone()))).await;
        }
        Turn::Lead(store.aside(&place.slot, place.seen.clone()))
    }

    /// What there is, beginning with what one who waited was given.
    async fn lookup(&self, followed: Option<(Place, Usable)>) -> Result<Found, Error> {
        let (shared, key, request) = (&self.shared, &self.key, &self.headers);
        match followed {
            Some((place, usable)) => lookup::follow(shared, key, request, place, usable).await,
            None => lookup::lookup(shared, key, request).await,
        }
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
        let is_plain = PECULIAR.iter().all(|name| !self.headers.contains_key(name));
        why != Forward::Request && !self.asked().is_head && is_plain && !self.demands.are_peculiar()
    }

    pub(crate) fn forbids_stale(&self, stored: &HeaderMap) -> bool {
        let targets = &self.shared.config.policy.targets;
        Stated::of(stored, targets).directives.forbids_stale()
    }
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
