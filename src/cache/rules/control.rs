//! Control of one answer by its handler, in the response's extensions.

use std::time::Duration;

use http::Extensions;

use crate::store::Life;

/// Stores this answer for a time that its header fields do not state: put it in the response's extensions.
///
/// It overrides `max-age`, `s-maxage`, `Expires` and the layer's own [`ttl`](crate::cache::CacheLayer::ttl). Clients do not
/// see it. It does not override what forbids storing: an answer with `no-store`, `private` or `Set-Cookie` is still not
/// stored, nor is one to a request with `Authorization` without `public`, `must-revalidate` or `s-maxage`.
///
/// ```
/// use http::Response;
/// use tower_fred::cache::CacheFor;
///
/// let mut response = Response::new("…");
/// response.extensions_mut().insert(CacheFor::secs(300));
/// ```
///
/// With the feature `axum` it can be a part of a response: `(CacheFor::secs(300), Json(products))`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it does nothing until it is in a response"]
pub struct CacheFor {
    ttl: Duration,
    stale_while_revalidate: Option<Duration>,
    stale_if_error: Option<Duration>,
    tags: Vec<String>,
}

/// Keeps this answer out of the cache, whatever its header fields and the layer's settings are: put it in the response's
/// extensions.
///
/// ```
/// use http::Response;
/// use tower_fred::cache::NoCache;
///
/// let mut response = Response::new("…");
/// response.extensions_mut().insert(NoCache);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCache;

impl CacheFor {
    /// Fresh for `ttl` from now.
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            stale_while_revalidate: None,
            stale_if_error: None,
            tags: Vec::new(),
        }
    }

    /// Fresh for `seconds` from now.
    pub fn secs(seconds: u64) -> Self {
        Self::new(Duration::from_secs(seconds))
    }

    /// How long after that it may be used while it is refreshed in the background; default: as the header fields or the layer
    /// say.
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale_while_revalidate = Some(window);
        self
    }

    /// How long after that it may be used in place of an error; default: as the header fields or the layer say.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale_if_error = Some(window);
        self
    }

    /// Adds tags. [`Purge::tag`](crate::cache::Purge::tag) removes all answers that have a tag.
    ///
    /// An answer may have 128 at most, its cache groups included; one with more is not stored.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// The `CacheFor` with which an answer was stored, without its tags; `None` if there was none.
    pub(crate) fn remembered(life: &Life) -> Option<Self> {
        let fresh_ms = life.lifetime_ms.saturating_sub(life.initial_age_ms);
        life.is_told.then(|| {
            Self::new(Duration::from_millis(fresh_ms))
                .stale_while_revalidate(Duration::from_millis(life.swr_ms))
                .stale_if_error(Duration::from_millis(life.sie_ms))
        })
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.tags
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    pub(crate) fn swr(&self) -> Option<Duration> {
        self.stale_while_revalidate
    }

    pub(crate) fn sie(&self) -> Option<Duration> {
        self.stale_if_error
    }
}

/// The handler's control of an answer, taken out of its extensions.
#[derive(Clone, Debug)]
pub(crate) enum Control {
    Nothing,
    Store(CacheFor),
    NoCache,
    /// An inner cache has decided whether the answer is stored.
    Decided,
}

impl Control {
    pub(crate) fn take(extensions: &mut Extensions) -> Self {
        let (store, leave) = (extensions.remove(), extensions.remove::<NoCache>());
        if leave.is_some() {
            Self::NoCache
        } else if extensions.get::<crate::cache::CacheStatus>().is_some() {
            Self::Decided
        } else {
            store.map_or(Self::Nothing, Self::Store)
        }
    }
}
