//! The lookup of a stored answer, through the list of `Vary` fields if the resource has one.

use std::sync::Arc;

use http::HeaderMap;

use crate::{
    cache::{
        rfc::{cache_status::Forward, vary},
        state::shared::Shared,
    },
    error::Error,
    store::{
        self, Budget, Entry, Key, Life, Seen, Slot, State, Stored, Usable, Variants, unix_millis,
    },
};

/// The result of a lookup.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) answer: Result<Answer, Forward>,
    pub(crate) place: Place,
}

/// A stored answer, which may be used as its state permits.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) stored: Stored,
    pub(crate) usable: Usable,
}

/// The slot of a stored answer, or the slot in which the lookup found none.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) slot: Slot,
    /// What the lookup saw in `slot`.
    pub(crate) seen: Seen,
    /// What the lookup saw in the resource's primary slot.
    pub(crate) primary_seen: Seen,
    /// The resource's list of `Vary` fields, if it has one.
    pub(crate) variants: Option<Variants>,
}

impl Answer {
    fn of(usable: Usable) -> Option<Self> {
        match &*usable.entry {
            Entry::Response(stored) => {
                let mut stored = stored.clone();
                if usable.state > State::Early {
                    aged(&mut stored.head.life, unix_millis());
                }
                Some(Self { stored, usable })
            }
            Entry::Variants(_) | Entry::Value(_) | Entry::Lease => None,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.usable.state
    }
}

/// Raises the age of an answer that was purged while it was fresh to its lifetime, so that no cache outside of this one
/// treats it as fresh.
fn aged(life: &mut Life, now_ms: u64) {
    let missing_ms = life.lifetime_ms.saturating_sub(life.age_ms(now_ms));
    life.initial_age_ms = life.initial_age_ms.saturating_add(missing_ms);
}

/// Looks up the answer for a request: in one round trip, or in none if this process has it; in two for a resource whose list
/// of `Vary` fields this process does not know yet.
pub(crate) async fn lookup(
    shared: &Shared,
    key: &Key,
    request: &HeaderMap,
    budget: Budget,
) -> Result<Found, Error> {
    let store = &shared.store;
    let slot_of = |variants: &Variants| slot(shared, key, request, variants);
    let primary = store.remote().primary(key);
    let known = shared.memory.variants(&key.resource);
    // Both at once: the first reply shows whether the known list, and so the second slot, is still the right one.
    let (first, guessed) = match &known {
        Some(known) => {
            let slot = slot_of(known);
            let first = store.lookup(&primary, budget);
            let second = store.lookup(&slot, budget);
            let both = async { tokio::try_join!(first, second) };
            // Boxed: the future is large, and most resources have no variants.
            let (first, second) = Box::pin(both).await?;
            (first, Some(second))
        }
        None => (store.lookup(&primary, budget).await?, None),
    };
    let guess = known.zip(guessed);
    beyond(shared, key, slot_of, first, guess, budget).await
}

/// Continues the lookup of a request that has waited, from the entry that the leader gave it.
pub(crate) async fn follow(
    shared: &Shared,
    key: &Key,
    request: &HeaderMap,
    place: Place,
    usable: Usable,
    budget: Budget,
) -> Result<Found, Error> {
    let seen = usable.seen.clone();
    if place.variants.is_none() {
        let slot_of = |variants: &Variants| slot(shared, key, request, variants);
        let first = store::Found {
            usable: Some(usable),
            seen,
        };
        return beyond(shared, key, slot_of, first, None, budget).await;
    }
    Ok(Found {
        answer: Answer::of(usable).ok_or(Forward::VaryMiss),
        place: Place { seen, ..place },
    })
}

/// Continues from the entry in the resource's primary slot: an answer, or the list that leads to one.
async fn beyond(
    shared: &Shared,
    key: &Key,
    slot_of: impl Fn(&Variants) -> Slot,
    first: store::Found,
    guess: Option<(Variants, store::Found)>,
    budget: Budget,
) -> Result<Found, Error> {
    let primary_seen = first.seen;
    let entry = first
        .usable
        .as_ref()
        .map(|usable| Arc::clone(&usable.entry));
    let Some(Entry::Variants(variants)) = entry.as_deref() else {
        return Ok(Found {
            answer: first.usable.and_then(Answer::of).ok_or(Forward::UriMiss),
            place: Place {
                slot: shared.store.remote().primary(key),
                seen: primary_seen.clone(),
                primary_seen,
                variants: None,
            },
        });
    };
    let slot = slot_of(variants);
    let second = match guess {
        Some((known, second)) if known == *variants => second,
        _ => Box::pin(shared.store.lookup(&slot, budget)).await?,
    };
    shared.memory.learn(key.resource, variants);
    Ok(Found {
        answer: second.usable.and_then(Answer::of).ok_or(Forward::VaryMiss),
        place: Place {
            slot,
            seen: second.seen,
            primary_seen,
            variants: Some(variants.clone()),
        },
    })
}

/// The slot of the variant for a request.
pub(crate) fn slot(shared: &Shared, key: &Key, request: &HeaderMap, variants: &Variants) -> Slot {
    let variant = vary::variant(
        &key.resource,
        &variants.generation,
        &variants.names,
        request,
    );
    shared.store.remote().variant(key, variant)
}
