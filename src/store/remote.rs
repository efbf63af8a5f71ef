//! Entries in Redis.

use std::time::Duration;

use bytes::Bytes;

use super::{entry::Entry, key::Digest};
use crate::{error::Error, redis::Redis};

/// The entries of one namespace.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    redis: Redis,
}

/// Where an entry is kept, and the digest that proves it is that one.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    key: String,
    digest: Digest,
}

impl Slot {
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Remote {
    pub(crate) fn new(redis: Redis) -> Self {
        Self { redis }
    }

    /// The slot that a resource is looked up in first.
    pub(crate) fn primary(&self, resource: &Digest) -> Slot {
        self.slot('c', resource, "0", *resource)
    }

    /// The slot of one variant of a resource, beside its primary one in a cluster.
    pub(crate) fn variant(&self, resource: &Digest, variant: Digest) -> Slot {
        self.slot('c', resource, &variant.short(), variant)
    }

    /// The slot of a memo's value.
    pub(crate) fn value(&self, digest: Digest) -> Slot {
        self.slot('m', &digest, "0", digest)
    }

    fn slot(&self, kind: char, group: &Digest, member: &str, digest: Digest) -> Slot {
        let (namespace, group) = (self.redis.namespace(), group.short());
        Slot {
            key: format!("{namespace}:{kind}:{{{group}}}:{member}"),
            digest,
        }
    }

    /// What is stored. Anything that cannot be read counts as nothing: it will be overwritten.
    pub(crate) async fn get(&self, slot: &Slot) -> Result<Option<Entry>, Error> {
        let blob = match self.redis.get(&slot.key).await {
            Ok(Some(blob)) => blob,
            Ok(None) => return Ok(None),
            Err(error) if error.is_corrupt() => {
                tracing::warn!(target: "tower_fred::store", key = slot.key, %error, "foreign data under a cache key");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let entry = Entry::decode(blob, &slot.digest);
        if entry.is_none() {
            tracing::warn!(target: "tower_fred::store", key = slot.key, "unreadable data under a cache key");
        }
        Ok(entry)
    }

    /// Stores an entry, whatever was there.
    pub(crate) async fn set(&self, slot: &Slot, blob: Bytes, ttl: Duration) -> Result<(), Error> {
        self.redis.set(&slot.key, blob, ttl).await
    }

    /// Lets an entry that is there live for `ttl` at least.
    pub(crate) async fn keep(&self, slot: &Slot, ttl: Duration) -> Result<(), Error> {
        self.redis.extend(&slot.key, ttl).await
    }

    /// Whether there was an entry to delete.
    pub(crate) async fn delete(&self, slot: &Slot) -> Result<bool, Error> {
        self.redis.delete(&slot.key).await
    }
}
