//! The plain commands that the slices need, each bounded by the handle.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use fred::{
    interfaces::{HashesInterface, KeysInterface},
    types::{Expiration, ExpireOptions, SetOptions},
};

use super::handle::Redis;
use crate::error::Error;

impl Redis {
    /// `GET key`. The bytes share fred's read buffer: copy what is kept.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        self.send(key, async |client, _| client.get(key).await)
            .await
    }

    /// `GETRANGE key 0 length-1`: how a value begins, nothing when there is none.
    #[cfg(feature = "cache")]
    pub(crate) async fn get_start(&self, key: &str, length: usize) -> Result<Bytes, Error> {
        self.send(key, async |client, _| {
            client.getrange(key, 0, length.saturating_sub(1)).await
        })
        .await
    }

    /// `SET key value PX ttl`, with a `ttl` of at least one millisecond.
    pub(crate) async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), Error> {
        let expiry = Expiration::PX(millis(ttl).max(1));
        self.send(key, async |client, _| {
            client
                .set(key, value.clone(), Some(expiry.clone()), None, false)
                .await
        })
        .await
    }

    /// `SET key value NX PX ttl`: whether there was nothing before.
    #[cfg(feature = "cache")]
    pub(crate) async fn set_new(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
    ) -> Result<bool, Error> {
        let expiry = Expiration::PX(millis(ttl).max(1));
        self.send(key, async |client, _| {
            let (expiry, new) = (Some(expiry.clone()), Some(SetOptions::NX));
            let done: Option<String> = client.set(key, value.clone(), expiry, new, false).await?;
            Ok(done.is_some())
        })
        .await
    }

    /// `SET key value NX GET PX ttl`: what is there, or nothing after `value` was put there.
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

    /// `DEL key`: whether there was one.
    pub(crate) async fn delete(&self, key: &str) -> Result<bool, Error> {
        self.send(key, async |client, _| client.del(key).await)
            .await
    }

    /// `PEXPIRE key ttl GT`: lets an existing key live for `ttl` at least.
    #[cfg(feature = "cache")]
    pub(crate) async fn extend(&self, key: &str, ttl: Duration) -> Result<(), Error> {
        self.send(key, async |client, _| {
            client
                .pexpire(key, millis(ttl).max(1), Some(ExpireOptions::GT))
                .await
        })
        .await
    }

    /// `HGETALL key`: the fields, none when there is no such key.
    #[cfg(feature = "session")]
    pub(crate) async fn hash(&self, key: &str) -> Result<HashMap<String, Bytes>, Error> {
        self.send(key, async |client, _| client.hgetall(key).await)
            .await
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
