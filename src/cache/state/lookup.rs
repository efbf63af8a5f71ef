//! Looking for a stored answer.

use std::sync::Arc;

use http::HeaderMap;

use crate::{
    cache::{
        rfc::{cache_status::Forward, vary},
        state::shared::Shared,
    },
    error::Error,
    store::{self, Entry, Key, Life, Seen, Slot, State, Stored, Usable, Variants, unix_millis},
};

/// What the cache has for a request.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) answer: Result<Answer, Forward>,
    pub(crate) place: Place,
}

/// A stored answer that may be used, in the way that its state says.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) stored: Stored,
    pub(crate) usable: Usable,
}

/// Where an answer is, or where it was looked for last.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) slot: Slot,
    /// What is there.
    pub(crate) seen: Seen,
    /// What is in the resource's first slot.
    pub(crate) primary_seen: Seen,
    /// What is known of the resource's variants.
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

/// Lets an answer that was purged before its time be as old as one that is stale by itself, so that no cache further out
/// takes it for fresh.
fn aged(life: &mut Life, now_ms: u64) {
    let missing_ms = life.lifetime_ms.saturating_sub(life.age_ms(now_ms));
    life.initial_age_ms = life.initial_age_ms.saturating_add(missing_ms);
}

/// One round trip, or none when this process has it; two for a resource whose variants this process does not know yet.
pub(crate) async fn lookup(
    shared: &Shared,
    key: &Key,
    request: &HeaderMap,
) -> Result<Found, Error> {
    let store = &shared.store;
    let slot_of = |variants: &Variants| slot(shared, key, request, variants);
    let primary = store.remote().primary(key);
    let known = shared.memory.variants(&key.resource);
    // Both at once, and the first says whether the second is what it was.
    let (first, guessed) = match &known {
        Some(known) => {
            let slot = slot_of(known);
            let both = async { tokio::try_join!(store.lookup(&primary), store.lookup(&slot)) };
            // In a box, as it is large and most have no variants.
            let (first, second) = Box::pin(both).await?;
            (first, Some(second))
        }
        None => (store.lookup(&primary).await?, None),
    };
    let guess = known.zip(guessed);
    beyond(shared, key, slot_of, first, guess).await
}

/// What one who waited was given, and what it leads to.
pub(crate) async fn follow(
    shared: &Shared,
    key: &Key,
    request: &HeaderMap,
    place: Place,
    usable: Usable,
) -> Result<Found, Error> {
    let seen = usable.seen.clone();
    if place.variants.is_none() {
        let slot_of = |variants: &Variants| slot(shared, key, request, variants);
        let first = store::Found {
            usable: Some(usable),
            seen,
        };
        return beyond(shared, key, slot_of, first, None).await;
    }
    Ok(Found {
        answer: Answer::of(usable).ok_or(Forward::VaryMiss),
        place: Place { seen, ..place },
    })
}

/// Goes on from what is in the resource's first slot.
async fn beyond(
    shared: &Shared,
    key: &Key,
    slot_of: impl Fn(&Variants) -> Slot,
    first: store::Found,
    guess: Option<(Variants, store::Found)>,
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
        _ => Box::pin(shared.store.lookup(&slot)).await?,
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

/// Where the variant for a request is.
pub(crate) fn slot(shared: &Shared, key: &Key, request: &HeaderMap, variants: &Variants) -> Slot {
    let variant = vary::variant(
        &key.resource,
        &variants.generation,
        &variants.names,
        request,
    );
    shared.store.remote().variant(key, variant)
}
