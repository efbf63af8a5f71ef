//! A key that an async function looks up.

use std::{error::Error as StdError, fmt, future::Future};

use http::request::Parts;

use super::{identity::Identity, key::Key, search::Search};

/// Counts by what an async function finds, such as the owner of an API key in a database. It runs for each request.
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
    /// Counts by what `find` returns; `None` means a request without a key. For a search that cannot fail.
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

    /// Counts by what `find` returns; `Ok(None)` means a request without a key. An error has the effect that
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
