//! Looking for a stored answer.

use http::HeaderMap;

use super::{config::Shared, key::Key, status::Forward, vary};
use crate::{
    error::Error,
    store::{Entry, Slot, Stored, Variants},
};

/// What the cache has for a request.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) answer: Result<Stored, Forward>,
    /// Where it is, or where it was looked for last.
    pub(crate) slot: Slot,
    /// What is known of the resource's variants.
    pub(crate) variants: Option<Variants>,
}

/// One round trip; two for a resource whose variants this process does not know yet.
pub(crate) async fn lookup(
    shared: &Shared,
    key: &Key,
    request: &HeaderMap,
) -> Result<Found, Error> {
    let remote = &shared.remote;
    let slot_of = |variants: &Variants| {
        let names = &variants.names;
        let variant = vary::variant(
            &key.resource,
            key.policy.as_ref(),
            &variants.generation,
            names,
            request,
        );
        remote.variant(&key.resource, variant)
    };
    let primary = remote.primary(&key.resource);
    let known = shared.memory.variants(&key.resource);
    // Both at once, and the first says whether the second is what it was.
    let (first, guessed) = match &known {
        Some(known) => {
            let slot = slot_of(known);
            let (first, second) = tokio::try_join!(remote.get(&primary), remote.get(&slot))?;
            (first, Some(second))
        }
        None => (remote.get(&primary).await?, None),
    };
    let variants = match first {
        // A policy keeps apart what the primary slot does not.
        Some(Entry::Response(stored)) if key.policy.is_none() => {
            return Ok(Found {
                answer: Ok(stored),
                slot: primary,
                variants: None,
            });
        }
        Some(Entry::Variants(variants)) => variants,
        Some(Entry::Response(_) | Entry::Value(_)) | None => {
            return Ok(Found {
                answer: Err(Forward::UriMiss),
                slot: primary,
                variants: None,
            });
        }
    };
    let slot = slot_of(&variants);
    let entry = match guessed {
        Some(entry) if known.as_ref() == Some(&variants) => entry,
        _ => remote.get(&slot).await?,
    };
    shared.memory.learn(key.resource, &variants);
    let answer = match entry {
        Some(Entry::Response(stored)) => Ok(stored),
        Some(Entry::Variants(_) | Entry::Value(_)) | None => Err(Forward::VaryMiss),
    };
    Ok(Found {
        answer,
        slot,
        variants: Some(variants),
    })
}
