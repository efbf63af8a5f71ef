//! The memo: its values, and how callers get and change them.

use std::{convert::Infallible, fmt, future::Future, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{codec::encode_key, config::Config, join_all::join_all};
use crate::{
    error::Error,
    redis::Redis,
    store::{Digest, KeyBuilder, Life, Slot, State, Store, Writer, chance, unix_millis},
};

/// Keeps values of type `T` in Redis for a while, and loads each at most once at a time. See the [module](crate::memo).
///
/// # Clone
///
/// Clones share the loads that are under way and the values in memory: make one `Memo` for a kind of value and clone it.
/// Two memos that are made separately with the same name share only what is in Redis.
pub struct Memo<T> {
    pub(super) redis: Redis,
    pub(super) store: Store,
    pub(super) config: Arc<Config<T>>,
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
    #[must_use]
    pub fn new(redis: Redis, name: impl Into<String>, ttl: Duration) -> Self {
        let config = Config::new(name.into().into(), ttl);
        Self {
            store: Store::new(&redis, config.store.clone()),
            redis,
            config: Arc::new(config),
        }
    }

    /// Purges the value for `key` on every node; true when there was one. A load that is under way does not store its value.
    ///
    /// # Errors
    ///
    /// An error when Redis did not confirm it: the old value may still be used. A [codec](Error::is_codec) error when the
    /// key cannot be encoded.
    pub async fn invalidate(&self, key: impl Serialize) -> Result<bool, Error> {
        self.store.remove(&self.slot(&key)?).await
    }

    fn slot(&self, key: &impl Serialize) -> Result<Slot, Error> {
        let config = &self.config;
        let digest: Digest = KeyBuilder::new("memo")
            .part(config.name.as_bytes())
            .part(config.codec.name().as_bytes())
            .part(&encode_key(key)?)
            .finish();
        Ok(self.store.remote().value(digest))
    }
}

impl<T: Serialize + DeserializeOwned> Memo<T> {
    /// The value for `key`, from this process or from Redis; otherwise the value that `load` gives, which is then stored.
    ///
    /// When many callers ask for a key at once, in this and in other processes, one of them loads, and the others get its
    /// value. If that caller is cancelled, panics, or is not polled for a second, another one takes over. When loads take
    /// 20 ms or less, each process loads for itself. [`wait`](Self::wait) bounds how long a caller waits.
    ///
    /// Without Redis it loads: errors of Redis are logged and never returned.
    pub async fn get_or_set<F, Fut>(&self, key: impl Serialize, load: F) -> T
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = T>,
    {
        let load = || async { Ok::<T, Infallible>(load().await) };
        match self.get_or_try_set(key, load).await {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// The same with a load that may fail. An error is returned to the caller whose load gave it, and is not stored.
    ///
    /// Callers that waited for a load that failed do not wait for another one: all call their own `load` at the same time.
    /// With [`stale_if_error`](Self::stale_if_error) they get the stale value instead, if there is one.
    ///
    /// # Errors
    ///
    /// Only those of `load`.
    pub async fn get_or_try_set<E, F, Fut>(&self, key: impl Serialize, load: F) -> Result<T, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let Some(slot) = self.try_slot(&key) else {
            return load().await;
        };
        if let Some(value) = self.peek(&slot).await {
            return Ok(value);
        }
        let mut budget = self.store.budget();
        // Boxed, since the future is large.
        match Box::pin(self.find(&slot, &mut budget)).await {
            Ok((value, usable)) if usable.state == State::Fresh => Ok(value),
            Ok((value, usable)) => match self.store.renew(&slot, &usable, budget).await {
                // One caller loads it anew and waits; the others use the value that there is.
                Some(lead) => match lead.watch().during(load()).await {
                    Ok(new) => Ok(self.keep(lead, &slot, new)),
                    Err(_) => {
                        lead.failed(Some(&usable));
                        Ok(value)
                    }
                },
                None => Ok(value),
            },
            Err(lead) => self.load(*lead, &slot, load).await,
        }
    }

    /// The value for `key`, if there is one. A value that no longer decodes is none.
    ///
    /// # Errors
    ///
    /// An error when Redis did not answer, and a [codec](Error::is_codec) error when the key cannot be encoded.
    pub async fn get(&self, key: impl Serialize) -> Result<Option<T>, Error> {
        let slot = self.slot(&key)?;
        match self.peek(&slot).await {
            Some(value) => Ok(Some(value)),
            None => Box::pin(self.look_up(&slot)).await,
        }
    }

    /// The values for several keys, in their order, asked for together: 64 in a round trip.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn get_many<K: Serialize>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<T>>, Error> {
        let slots = keys.into_iter().map(|key| self.slot(&key));
        let slots = slots.collect::<Result<Vec<_>, _>>()?;
        let mut values = Vec::with_capacity(slots.len());
        // In chunks: the connection is shared with other callers.
        for some in slots.chunks(AT_ONCE) {
            let found = join_all(some.iter().map(|slot| self.look_up(slot))).await;
            values.extend(found.into_iter().collect::<Result<Vec<_>, _>>()?);
        }
        Ok(values)
    }

    /// Stores `value` for `key` and purges the old value on every node. A load that is under way does not store its value.
    ///
    /// # Errors
    ///
    /// An error when Redis did not confirm it, and a [codec](Error::is_codec) error when the key or the value cannot be
    /// encoded.
    pub async fn set(&self, key: impl Serialize, value: &T) -> Result<(), Error> {
        let slot = self.slot(&key)?;
        let encoded = self.config.codec.encode(value)?;
        let lifetime = self.config.lifetime(value, chance());
        if lifetime.is_zero() {
            return self.store.remove(&slot).await.map(drop);
        }
        self.store
            .replace(&slot, |seq| {
                let life = Life {
                    born_ms: unix_millis(),
                    lifetime_ms: u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX),
                    seq,
                    ..Life::default()
                };
                let life = self.config.complete(&life, value);
                let ttl = life.ttl().unwrap_or(lifetime);
                let above = self.config.compress_above;
                (Writer::value(&life, &encoded, slot.digest(), above), ttl)
            })
            .await
    }

    /// The slot of a key; when the key cannot be encoded, that is logged.
    pub(super) fn try_slot(&self, key: &impl Serialize) -> Option<Slot> {
        let slot = self.slot(key);
        if let Err(error) = &slot {
            tracing::error!(target: "tower_fred::memo", memo = %self.config.name, %error, "not cached");
        }
        slot.ok()
    }
}

impl<T> Clone for Memo<T> {
    fn clone(&self) -> Self {
        Self {
            redis: self.redis.clone(),
            store: self.store.clone(),
            config: Arc::clone(&self.config),
        }
    }
}

impl<T> fmt::Debug for Memo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo")
            .field("name", &self.config.name)
            .field("ttl", &self.config.ttl)
            .finish_non_exhaustive()
    }
}

const _: () = {
    const fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Memo<std::cell::Cell<u8>>>();
};

/// How many keys are looked up at once.
const AT_ONCE: usize = 64;
