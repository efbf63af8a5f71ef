//! A search for who a request counts against.

use std::{error::Error as StdError, fmt, future::Future, pin::Pin};

use super::identity::Identity;

/// A search for who a request counts against: what [`Key::search`](super::key::Key::search) gives.
pub struct Search(Pin<Box<dyn Future<Output = Result<Found, Failure>> + Send>>);

/// What a search has found.
#[derive(Debug)]
pub(crate) enum Found {
    Identity(Identity),
    /// The request does not say; with what it is counted by where such requests share a budget.
    Missing(Identity),
}

/// Why a search could not be made.
pub(crate) type Failure = Box<dyn StdError + Send + Sync>;

impl Search {
    /// Searches by this future, which gives `None` when the request does not say.
    pub fn new(future: impl Future<Output = Option<Identity>> + Send + 'static) -> Self {
        Self::of(async move { Ok(Found::or_missing(future.await)) })
    }

    /// Searches by this future, which may fail: its place of search is out of reach.
    ///
    /// `Ok(None)` says that the request has no key. An error says that nobody knows, and the layer does what it is told for
    /// when Redis fails: with [`fail_closed`](crate::rate_limit::RateLimitLayer::fail_closed) the answer is 503; otherwise the request is
    /// not counted by this key, and by the others as ever. The first error after a success is logged.
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
