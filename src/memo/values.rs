//! Values that are kept in Redis.

use std::{fmt, future::Future, marker::PhantomData, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, Kind},
    redis::Redis,
    store::{Digest, Entry, Flights, KeyBuilder, Lead, Life, Remote, Slot, Turn, Writer},
};

/// Keeps values of type `T` in Redis for a while, and loads each at most once at a time. See the [module](crate::memo).
///
/// # Clone
///
/// Clones share the loads that are under way: make one `Memo` for a kind of value and clone it. Two that are made apart
/// with the same name share what is in Redis, but not the loads.
pub struct Memo<T> {
    inner: Arc<Inner>,
    value: PhantomData<fn() -> T>,
}

struct Inner {
    remote: Remote,
    name: Box<str>,
    ttl: Duration,
    flights: Flights,
}

impl<T> Memo<T> {
    /// Values that are called `name` in the namespace of `redis` and live for `ttl`.
    ///
    /// The name is part of every key. Change it when the type changes its meaning; a value that merely no longer decodes
    /// is loaded again anyway.
    ///
    /// # Panics
    ///
    /// When the ttl is not between 1 ms and 100 years.
    pub fn new(redis: Redis, name: impl Into<String>, ttl: Duration) -> Self {
        // Redis refuses what ends after its calendar does, each time that a value is to be kept.
        assert!(
            (Duration::from_millis(1)..=LONGEST).contains(&ttl),
            "the ttl of a memo must be between 1 ms and 100 years"
        );
        let inner = Inner {
            remote: Remote::new(redis),
            name: name.into().into(),
            ttl,
            flights: Flights::default(),
        };
        Self {
            inner: Arc::new(inner),
            value: PhantomData,
        }
    }

    /// Removes the value for `key`; true when there was one. A load of this process that is under way will not be kept.
    ///
    /// # Errors
    ///
    /// An error when Redis did not confirm it: the old value may still be there. A [codec](Error::is_codec) error when the
    /// key cannot be encoded.
    pub async fn invalidate(&self, key: impl Serialize) -> Result<bool, Error> {
        let digest = self.digest(&key)?;
        self.inner.flights.abandon(&digest);
        self.inner.remote.delete(&self.slot(digest)).await
    }

    /// Keys are encoded as JSON, so that `7` and `"7"` are two, and a tuple is as good as a number.
    fn digest(&self, key: &impl Serialize) -> Result<Digest, Error> {
        let key = serde_json::to_vec(key)
            .map_err(|error| codec("a memo's key cannot be encoded", error))?;
        let name = self.inner.name.as_bytes();
        Ok(KeyBuilder::new("memo").part(name).part(&key).finish())
    }

    fn slot(&self, digest: Digest) -> Slot {
        self.inner.remote.value(digest)
    }
}

impl<T: Serialize + DeserializeOwned> Memo<T> {
    /// The value for `key`: from Redis, or else what `load` gives, which is then kept for the next ones.
    ///
    /// Of many callers in this process that ask for one key at once, one asks Redis and loads; the others get what it found.
    /// If it is cancelled, panics or fails, the next one takes its place. An error goes to the caller whose load gave it and
    /// is not kept.
    ///
    /// Without Redis it loads, as without a memo: the errors of Redis are logged and never returned.
    ///
    /// # Errors
    ///
    /// Only those of `load`.
    pub async fn get_or_set<E, F, Fut>(&self, key: impl Serialize, load: F) -> Result<T, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let digest = match self.digest(&key) {
            Ok(digest) => digest,
            Err(error) => {
                tracing::error!(target: "tower_fred::memo", memo = %self.inner.name, %error, "not cached");
                return load().await;
            }
        };
        match self.inner.flights.join(digest).await {
            Turn::Follow(found) => match self.decode(&found) {
                Some(value) => Ok(value),
                None => load().await,
            },
            Turn::Lead(lead) => self.lead(lead, &self.slot(digest), load).await,
        }
    }

    /// The value for `key`, if there is one. A value that no longer decodes is none.
    ///
    /// # Errors
    ///
    /// An error when Redis did not answer, and a [codec](Error::is_codec) error when the key cannot be encoded.
    pub async fn get(&self, key: impl Serialize) -> Result<Option<T>, Error> {
        let slot = self.slot(self.digest(&key)?);
        let found = self.find(&slot).await?;
        Ok(found.and_then(|found| self.decode(&found)))
    }

    /// Keeps `value` for `key` in place of what was there. A load of this process that is under way will not be kept.
    ///
    /// # Errors
    ///
    /// An error when Redis did not confirm it, and a [codec](Error::is_codec) error when the key or the value cannot be
    /// encoded.
    pub async fn set(&self, key: impl Serialize, value: &T) -> Result<(), Error> {
        let digest = self.digest(&key)?;
        let encoded = encode(value)?;
        self.inner.flights.abandon(&digest);
        self.keep(&self.slot(digest), &encoded).await
    }

    /// Finds or loads the value for all who wait.
    async fn lead<E, F, Fut>(&self, lead: Lead, slot: &Slot, load: F) -> Result<T, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let found = self.find(slot).await;
        if let Ok(Some(found)) = &found {
            if let Some(value) = self.decode(found) {
                lead.land(found.clone());
                return Ok(value);
            }
        }
        let value = load().await?;
        let encoded = match encode(&value) {
            Ok(encoded) => encoded,
            Err(error) => {
                tracing::error!(target: "tower_fred::memo", memo = %self.inner.name, %error, "not cached");
                return Ok(value);
            }
        };
        // A server that has just failed to answer is not waited for again.
        let kept = match found {
            Ok(_) if lead.is_abandoned() => Ok(()),
            Ok(_) => self.keep(slot, &encoded).await,
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            tracing::debug!(target: "tower_fred::memo", memo = %self.inner.name, %error, "loaded without redis");
        }
        // NOTE: after the write: who comes from now on asks Redis, and finds it there.
        lead.land(encoded);
        Ok(value)
    }

    async fn find(&self, slot: &Slot) -> Result<Option<Bytes>, Error> {
        Ok(match self.inner.remote.get(slot).await? {
            Some(Entry::Value(value)) => Some(value.bytes),
            Some(Entry::Response(_) | Entry::Variants(_)) | None => None,
        })
    }

    async fn keep(&self, slot: &Slot, encoded: &[u8]) -> Result<(), Error> {
        let blob = Writer::value(&Life::default(), encoded, slot.digest());
        self.inner.remote.set(slot, blob, self.inner.ttl).await
    }

    fn decode(&self, encoded: &[u8]) -> Option<T> {
        let value = serde_json::from_slice(encoded);
        if value.is_err() {
            // The error may quote the value.
            tracing::debug!(target: "tower_fred::memo", memo = %self.inner.name, "a value no longer decodes");
        }
        value.ok()
    }
}

fn encode(value: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| codec("a memo's value cannot be encoded", error))
}

fn codec(message: &str, source: serde_json::Error) -> Error {
    Error::new(Kind::Codec, message).caused_by(source)
}

impl<T> Clone for Memo<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            value: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Memo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo")
            .field("name", &self.inner.name)
            .field("ttl", &self.inner.ttl)
            .finish_non_exhaustive()
    }
}

const _: () = {
    const fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Memo<std::cell::Cell<u8>>>();
};

const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);
