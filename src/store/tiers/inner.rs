//! The state that all clones of a store share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{near::Near, postponed::Postponed, remote::Remote, settings::Settings};
use crate::{
    redis::{Budget, Redis},
    store::{
        flight::{
            cost::Cost, failures::Failures, flights::Flights, refusals::Refusals,
            renewals::Renewals,
        },
        purge_log::log::Log,
    },
};

/// The state that all clones of a store share: its tiers, and what is known of its loads.
pub(crate) struct Inner {
    pub(crate) remote: Remote,
    pub(crate) log: Arc<Log>,
    pub(crate) near: Option<Near>,
    /// Permits for comparing near copies with Redis.
    pub(crate) rechecks: Arc<Semaphore>,
    pub(crate) flights: Flights,
    pub(crate) refusals: Refusals,
    pub(crate) failures: Failures,
    pub(crate) settings: Settings,
    pub(crate) renewals: Renewals,
    /// What waits until Redis is back.
    pub(crate) postponed: Postponed,
    /// How long it took lately to make an entry.
    pub(crate) cost: Cost,
}

impl Inner {
    pub(crate) fn new(redis: &Redis, settings: Settings) -> Self {
        Self {
            remote: Remote::new(redis.clone()),
            log: Log::of(redis),
            near: settings.near.map(Near::new),
            rechecks: Arc::new(Semaphore::new(MOST_RECHECKS)),
            flights: Flights::default(),
            refusals: Refusals::default(),
            failures: Failures::default(),
            settings,
            renewals: Renewals::default(),
            postponed: Postponed::default(),
            cost: Cost::default(),
        }
    }

    /// The time for which a request that begins now waits for Redis.
    pub(crate) fn budget(&self) -> Budget {
        self.log.redis.budget()
    }
}

/// How many near copies of a store are compared with Redis at once.
const MOST_RECHECKS: usize = 64;
