//! Keys that have to be looked up before a request can be counted.

use std::{error::Error as StdError, fmt, future::Future, pin::Pin};

use http::request::Parts;

use super::{identity::Identity, key::Key};

/// A search for who a request counts against: what [`Key::search`] gives.
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

/// Counts by what an async function finds: the owner of an API key in a database, say. It runs for each request.
///
/// ```
/// use http::request::Parts;
/// use tower_fred::rate_limit::AsyncKey;
///
/// async fn owner(key: String) -> Result<Option<u64>, std::io::Error> {
/// #   let _ = key;
///     // A query, which may fail.
///     Ok(Some(7))
/// }
///
/// let by_owner = AsyncKey::try_new(|request: &Parts| {
///     let key = request.headers.get("x-api-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
///     async move {
///         match key {
///             Some(key) => owner(key).await,
///             None => Ok(None),
///         }
///     }
/// });
/// ```
pub struct AsyncKey(Box<dyn Fn(&Parts) -> Search + Send + Sync>);

impl AsyncKey {
    /// Counts by what `find` gives; `None` is a request without a key. For a search that cannot fail.
    pub fn new<F, T>(find: impl Fn(&Parts) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<T>> + Send + 'static,
        T: Into<Identity>,
    {
        Self(Box::new(move |request| {
            let found = find(request);
            Search::new(async move { found.await.map(Into::into) })
        }))
    }

    /// Counts by what `find` gives; `Ok(None)` is a request without a key. An error is treated as
    /// [`Search::fallible`] describes.
    pub fn try_new<F, T, E>(find: impl Fn(&Parts) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Option<T>, E>> + Send + 'static,
        T: Into<Identity>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self(Box::new(move |request| {
            let found = find(request);
            Search::fallible(async move { found.await.map(|found| found.map(Into::into)) })
        }))
    }
}

impl Key for AsyncKey {
    fn identity(&self, _: &Parts) -> Option<Identity> {
        None
    }

    fn search(&self, request: &Parts) -> Option<Search> {
        Some((self.0)(request))
    }

    fn needs(&self) -> &str {
        "what an AsyncKey looks up"
    }
}

impl fmt::Debug for AsyncKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncKey").finish_non_exhaustive()
    }
}
