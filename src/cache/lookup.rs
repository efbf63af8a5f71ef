//! Looking for a stored answer.

use http::HeaderMap;

use super::{status::Forward, vary};
use crate::{
    error::Error,
    store::{Digest, Entry, Remote, Stored, Variants},
};

/// What the cache has for a request.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) answer: Result<Stored, Forward>,
    /// What is known of the resource's variants.
    pub(crate) variants: Option<Variants>,
}

/// One command, or two for a resource with variants.
pub(crate) async fn lookup(
    remote: &Remote,
    resource: &Digest,
    request: &HeaderMap,
) -> Result<Found, Error> {
    let variants = match remote.get(&remote.primary(resource)).await?.entry {
        Some(Entry::Response(stored)) => {
            return Ok(Found {
                answer: Ok(stored),
                variants: None,
            });
        }
        Some(Entry::Variants(variants)) => variants,
        Some(Entry::Value(_) | Entry::Lease) | None => {
            return Ok(Found {
                answer: Err(Forward::UriMiss),
                variants: None,
            });
        }
    };
    let variant = vary::variant(resource, &variants.generation, &variants.names, request);
    let answer = match remote.get(&remote.variant(resource, variant)).await?.entry {
        Some(Entry::Response(stored)) => Ok(stored),
        Some(Entry::Variants(_) | Entry::Value(_) | Entry::Lease) | None => Err(Forward::VaryMiss),
    };
    Ok(Found {
        answer,
        variants: Some(variants),
    })
}
