//! The plain commands that the slices use.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use fred::{
    interfaces::KeysInterface,
    types::{Expiration, ExpireOptions, SetOptions},
};

use super::handle::Redis;
use crate::error::Error;

impl Redis {
    /// `GET key`, or `MGET` with keys that others ask for at the same time. The bytes are a part of fred's read buffer: copy
    /// what you keep.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        self.read(key).await
    }

    /// `GETRANGE key 0 length-1`: the first bytes of a value; empty when there is no such key.
    #[cfg(feature = "cache")]
    pub(crate) async fn get_start(&self, key: &str, length: usize) -> Result<Bytes, Error> {
        self.send(key, async |client, _| {
            client.getrange(key, 0, length.saturating_sub(1)).await
        })
        .await
    }

    /// `SET key value PX ttl`, with a `ttl` of at least one millisecond.
    pub(crate) async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), Error> {
        self.note_size(key, &value);
        let expiry = Expiration::PX(millis(ttl).max(1));
        self.send(key, async |client, _| {
            client
                .set(key, value.clone(), Some(expiry.clone()), None, false)
                .await
        })
        .await
    }

    /// `SET key value NX PX ttl`: whether it was set, since there was no such key before, or one of another type. A read
    /// together with others does not tell that from no key.
    #[cfg(feature = "cache")]
    pub(crate) async fn set_new(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
    ) -> Result<bool, Error> {
        self.note_size(key, &value);
        let expiry = Expiration::PX(millis(ttl).max(1));
        let is_set = self
            .send(key, async |client, _| {
                let (expiry, new) = (Some(expiry.clone()), Some(SetOptions::NX));
                let value = value.clone();
                let done: Option<String> = client.set(key, value, expiry, new, false).await?;
                Ok(done.is_some())
            })
            .await?;
        let is_foreign =
            !is_set && matches!(self.get_start(key, 1).await, Err(error) if error.is_corrupt());
        if is_foreign {
            self.set(key, value, ttl).await?;
        }
        Ok(is_set || is_foreign)
    }

    /// `SET key value NX GET PX ttl`: the value that is there; `None` when `value` was set.
    #[cfg(feature = "cache")]
    pub(crate) async fn get_or_set(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
    ) -> Result<Option<Bytes>, Error> {
        let expiry = Expiration::PX(millis(ttl).max(1));
        self.send(key, async |client, _| {
            let (expiry, new) = (Some(expiry.clone()), Some(SetOptions::NX));
            client.set(key, value.clone(), expiry, new, true).await
        })
        .await
    }

    /// `DEL key`: whether there was such a key.
    pub(crate) async fn delete(&self, key: &str) -> Result<bool, Error> {
        self.send(key, async |client, _| client.del(key).await)
            .await
    }

    /// `PEXPIRE key ttl GT`: an existing key expires in `ttl` or later.
    #[cfg(feature = "cache")]
    pub(crate) async fn extend(&self, key: &str, ttl: Duration) -> Result<(), Error> {
        self.send(key, async |client, _| {
            client
                .pexpire(key, millis(ttl).max(1), Some(ExpireOptions::GT))
                .await
        })
        .await
    }

    /// `HGETALL key`, or a script with keys that others ask for at the same time: the fields; empty when there is no such key.
    #[cfg(feature = "session")]
    pub(crate) async fn hash(&self, key: &str) -> Result<HashMap<String, Bytes>, Error> {
        self.read_hash(key).await
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
