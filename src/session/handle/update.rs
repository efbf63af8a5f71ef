//! Changes that depend on the value before: requests at the same time lose none.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::session::Session;
use crate::{
    error::{Error, Kind},
    session::record::{
        bounds::{check_key, encode},
        codec::decode,
        operation::{Op, Outcome},
        session_record::number,
    },
};

impl Session {
    /// Replaces the value under `key` with the result of `change`, and returns it.
    ///
    /// It is written at once, and only if the stored value is still the one that `change` got; otherwise `change` is
    /// called again with the stored value. So requests that update the same key at the same time lose no change.
    /// Buffered changes are written first.
    ///
    /// ```no_run
    /// # async fn example(session: tower_fred::Session) -> Result<(), tower_fred::Error> {
    /// let cart = session
    ///     .update("cart", |cart: Option<Vec<u64>>| {
    ///         let mut cart = cart.unwrap_or_default();
    ///         cart.push(7);
    ///         cart
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), [`insert`](Self::insert) and [`commit`](Self::commit), and an
    /// [unavailable](Error::is_unavailable) one when other requests changed the value first, a hundred times in a row.
    ///
    /// # Cancellation
    ///
    /// When the future is dropped, the value was replaced or not.
    pub async fn update<T, F>(&self, key: &str, mut change: F) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned,
        F: FnMut(Option<T>) -> T,
    {
        check_key(key)?;
        self.mark_used();
        let _io = self.inner.io.lock().await;
        self.flush().await?;
        self.load_locked().await?;
        let codec = &self.store().settings.codec;
        for _ in 0..ATTEMPTS {
            let (stored, plain) = self.before(key)?;
            let before = plain.map(|bytes| decode(key, &bytes)).transpose()?;
            let value = change(before);
            let plain = encode(codec, key, &value)?;
            let outcome = self
                .apply(|holder| {
                    let next = codec.close(&holder.token.id(), key, &plain)?;
                    Ok(vec![Op::Expect(key, stored.clone()), Op::Set(key, next)])
                })
                .await?;
            match outcome {
                Some(Outcome::Done(_)) => {
                    self.state().note(key, plain);
                    return Ok(value);
                }
                Some(Outcome::Conflict(found)) => self.state().found(key, found),
                _ => {
                    self.state().buffer(key, plain);
                    self.flush().await?;
                    return Ok(value);
                }
            }
        }
        Err(Error::new(
            Kind::Unavailable,
            "too many requests updated one session field at once",
        ))
    }

    /// The stored value under `key` (empty if there is none), and the plain value.
    fn before(&self, key: &str) -> Result<(Bytes, Option<Bytes>), Error> {
        let state = self.state();
        let Some(record) = state.record() else {
            return Ok((Bytes::new(), None));
        };
        let stored = record.stored(key).cloned().unwrap_or_default();
        Ok((stored, record.plain(key)?))
    }

    /// Adds to the whole number under `key`, 0 if there is none, and returns the sum.
    ///
    /// It is written at once, in one script, so that additions at the same time are all counted. Buffered changes are
    /// written first.
    ///
    /// # Errors
    ///
    /// A [codec](Error::is_codec) error when the value is no whole number as JSON, or the sum has more than 64 bits;
    /// otherwise as [`commit`](Self::commit).
    ///
    /// # Cancellation
    ///
    /// When the future is dropped, the number was added or not.
    pub async fn incr(&self, key: &str, by: i64) -> Result<i64, Error> {
        check_key(key)?;
        if self.store().settings.codec.seals() {
            let sum = self.update(key, |value: Option<i64>| {
                value.unwrap_or(0).saturating_add(by)
            });
            return sum.await;
        }
        self.used().note_read();
        let _io = self.inner.io.lock().await;
        self.flush().await?;
        #[cfg(feature = "tower-sessions-import")]
        self.import().await?;
        let not_a_number = || {
            let text = format!("session field `{key}` is no whole number to add to");
            Error::new(Kind::Codec, text)
        };
        match self.apply(|_| Ok(vec![Op::Add(key, by)])).await? {
            Some(Outcome::Done(done)) => {
                let sum = number(&done.sum).ok_or_else(not_a_number)?;
                self.state().note(key, done.sum);
                Ok(sum)
            }
            Some(_) => Err(not_a_number()),
            None => {
                let plain = by.to_string().into_bytes().into();
                self.state().buffer(key, plain);
                self.flush().await?;
                Ok(by)
            }
        }
    }
}

/// Of n requests at the same time, one succeeds in each round. A session does not get as many requests at once.
const ATTEMPTS: usize = 100;
