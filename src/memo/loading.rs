//! Looking up a value, and loading it for all who wait.

use std::future::Future;

use serde::{Serialize, de::DeserializeOwned};
use tokio::task::coop::consume_budget;

use super::{config::Config, values::Memo};
use crate::{
    error::Error,
    store::{Budget, Entry, Lead, Life, Slot, State, Turn, Usable, Writer, chance, unix_millis},
};

impl<T: Serialize + DeserializeOwned> Memo<T> {
    /// The value in this process, if it is fresh.
    pub(crate) async fn peek(&self, slot: &Slot) -> Option<T> {
        let kept = self.store.peek(slot, unix_millis())?;
        // Otherwise a task that finds each value here would never yield.
        consume_budget().await;
        self.decode(kept.entry())
    }

    /// A value that may be used, or the right to load it.
    pub(crate) async fn find(
        &self,
        slot: &Slot,
        budget: &mut Budget,
    ) -> Result<(T, Usable), Box<Lead>> {
        for _ in 0..ATTEMPTS {
            // In a box: what it nests would make each caller's future large.
            let usable = match Box::pin(self.store.begin(slot, None, budget)).await {
                Turn::Lead(lead) => return Err(Box::new(lead)),
                Turn::Follow(usable) => usable,
            };
            let most = match self.store.is_failing(slot) {
                true => State::IfError,
                false => State::WhileRevalidate,
            };
            if usable.state > most {
                return Err(Box::new(self.store.instead(slot, usable)));
            }
            if let Some(value) = self.decode(&usable.entry) {
                return Ok((value, usable));
            }
            // When it is deleted, the next attempt elects a caller that loads the value.
            if self.store.discard(slot, &usable).await.is_err() {
                break;
            }
        }
        Err(Box::new(self.store.alone(slot)))
    }

    /// The value, if there is one that may be used; never loads.
    pub(crate) async fn look_up(&self, slot: &Slot) -> Result<Option<T>, Error> {
        let found = self.store.lookup(slot, self.store.budget()).await?;
        let usable = found
            .usable
            .filter(|usable| usable.state <= State::WhileRevalidate);
        Ok(usable.and_then(|usable| self.decode(&usable.entry)))
    }

    /// Loads the value for all who wait.
    pub(crate) async fn load<E, F, Fut>(&self, lead: Lead, slot: &Slot, load: F) -> Result<T, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        match lead.watch().during(load()).await {
            Ok(value) => Ok(self.keep(lead, slot, value)),
            Err(error) => self.stale_instead(lead, slot).await.ok_or(error),
        }
    }

    /// A stale value for all who wait, after a load that failed.
    async fn stale_instead(&self, lead: Lead, slot: &Slot) -> Option<T> {
        let mut stale = lead.stale().cloned();
        // This caller may not have seen the stale value, if it waited in vain or Redis did not answer before.
        if stale.is_none() && !self.config.stale_if_error.is_zero() {
            let found = self.store.lookup(slot, self.store.budget()).await.ok();
            stale = found.and_then(|found| found.usable);
        }
        let stale = stale.filter(|stale| stale.state <= State::IfError);
        let value = stale.as_ref().and_then(|stale| self.decode(&stale.entry));
        lead.failed(stale.as_ref().filter(|_| value.is_some()));
        if value.is_some() {
            tracing::debug!(target: "tower_fred::memo", memo = %self.config.name, "the load failed: a stale value is used");
        }
        value
    }

    /// Gives a value to all who wait, and stores it.
    pub(crate) fn keep(&self, lead: Lead, slot: &Slot, value: T) -> T {
        keep(&self.config, lead, slot, &value);
        value
    }

    fn decode(&self, entry: &Entry) -> Option<T> {
        let Entry::Value(value) = entry else {
            return None;
        };
        let decoded = self.config.codec.decode(&value.bytes);
        if decoded.is_none() {
            tracing::debug!(target: "tower_fred::memo", memo = %self.config.name, "a stored value does not decode");
        }
        decoded
    }
}

/// Gives a value to all who wait, and stores it if it can be stored.
pub(crate) fn keep<T: Serialize>(config: &Config<T>, lead: Lead, slot: &Slot, value: &T) {
    let encoded = match config.codec.encode(value) {
        Ok(encoded) => encoded,
        Err(error) => {
            tracing::error!(target: "tower_fred::memo", memo = %config.name, %error, "not cached");
            return lead.uncacheable();
        }
    };
    let life = Life::of(&lead, config.lifetime(value, chance()));
    if life.lifetime_ms == 0 {
        return lead.uncacheable();
    }
    let life = config.complete(&life, value);
    match life.ttl() {
        Some(ttl) => {
            let above = config.compress_above;
            lead.fill(Writer::value(&life, &encoded, slot.digest(), above), ttl);
        }
        None => lead.uncacheable(),
    }
}

/// How many values that do not decode are deleted before one is loaded that is not stored.
const ATTEMPTS: u32 = 3;
