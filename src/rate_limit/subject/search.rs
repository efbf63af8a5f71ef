//! The search of a key that is not in the head of the request.

use std::{error::Error as StdError, fmt, future::Future, pin::Pin};

use super::identity::Identity;

/// A search for who a request counts against: what [`Key::search`](super::key::Key::search) returns.
pub struct Search(Pin<Box<dyn Future<Output = Result<Found, Failure>> + Send>>);

/// What a search has found.
#[derive(Debug)]
pub(crate) enum Found {
    Identity(Identity),
    /// The key is missing. The identity is the subject of such requests where they share a budget.
    Missing(Identity),
}

/// Why a search failed.
pub(crate) type Failure = Box<dyn StdError + Send + Sync>;

impl Search {
    /// A search by this future, which returns `None` when the request has no key.
    pub fn new(future: impl Future<Output = Option<Identity>> + Send + 'static) -> Self {
        Self::of(async move { Ok(Found::or_missing(future.await)) })
    }

    /// A search by this future, which may fail, for example because its database cannot be reached.
    ///
    /// `Ok(None)` says that the request has no key. An error says that the key is unknown. The layer then does the same
    /// as when Redis fails: with [`fail_closed`](crate::rate_limit::RateLimitLayer::fail_closed) it answers 503;
    /// otherwise it does not count the request by this key, and counts it by the other keys. The first error after a
    /// success is logged.
    pub fn fallible<E: Into<Box<dyn StdError + Send + Sync>>>(
        future: impl Future<Output = Result<Option<Identity>, E>> + Send + 'static,
    ) -> Self {
        Self::of(async move { future.await.map(Found::or_missing).map_err(Into::into) })
    }

    pub(crate) fn of(
        future: impl Future<Output = Result<Found, Failure>> + Send + 'static,
    ) -> Self {
        Self(Box::pin(future))
    }

    pub(crate) async fn found(self) -> Result<Found, Failure> {
        self.0.await
    }
}

impl Found {
    fn or_missing(identity: Option<Identity>) -> Self {
        identity.map_or_else(|| Self::Missing(Identity::nobody()), Self::Identity)
    }
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search").finish_non_exhaustive()
    }
}
