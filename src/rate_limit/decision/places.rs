//! The places of a request whose connection outlives its response.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use http::Extensions;

/// The places that a request holds under [concurrency](crate::rate_limit::Policy::concurrency) policies.
///
/// A place is given back when the response body ends. For an upgraded connection, such as a WebSocket, that is at once.
/// The handler takes a [`PlaceGuard`] then and drops it when the connection ends. A connection that is upgraded without is
/// not counted, and the first of them is logged.
///
/// It is in the extensions of the request, and with the feature `axum` an extractor. A request that holds no place, as there
/// is no such policy or as Redis fails, gives an empty one.
///
/// ```
/// # #[cfg(feature = "axum")]
/// # {
/// use axum::{extract::ws::{WebSocket, WebSocketUpgrade}, response::Response};
/// use tower_fred::rate_limit::Places;
///
/// async fn echo(mut socket: WebSocket) {
///     while let Some(Ok(message)) = socket.recv().await {
///         if socket.send(message).await.is_err() {
///             break;
///         }
///     }
/// }
///
/// async fn handler(upgrade: WebSocketUpgrade, places: Places) -> Response {
///     let place = places.guard();
///     upgrade.on_upgrade(async move |socket| {
///         echo(socket).await;
///         drop(place);
///     })
/// }
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Places(Vec<Weak<dyn Send + Sync>>);

impl Places {
    /// Keeps the places until the guard is dropped.
    ///
    /// Before the response body ends: from then on there is nothing to keep.
    pub fn guard(&self) -> PlaceGuard {
        PlaceGuard {
            _places: self.0.iter().filter_map(Weak::upgrade).map(Place).collect(),
        }
    }

    /// Adds these places to those that the request holds by limits further out.
    pub(crate) fn add(extensions: &mut Extensions, places: &[Place]) {
        if !places.is_empty() {
            let all: &mut Self = extensions.get_or_insert_default();
            all.0
                .extend(places.iter().map(|Place(lease)| Arc::downgrade(lease)));
        }
    }
}

/// Keeps places under [concurrency](crate::rate_limit::Policy::concurrency) policies until it is dropped. Made by [`Places::guard`].
#[derive(Debug)]
#[must_use = "the places are given back when this is dropped"]
pub struct PlaceGuard {
    _places: Vec<Place>,
}

/// One place that a request holds: its lease, whose destructor gives the place back.
#[derive(Clone)]
pub(crate) struct Place(Arc<dyn Send + Sync>);

impl Place {
    pub(crate) fn new(lease: impl Send + Sync + 'static) -> Self {
        Self(Arc::new(lease))
    }

    /// Whether somebody else holds it too.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Places").field(&self.0.len()).finish()
    }
}

#[cfg(feature = "axum")]
impl<S: Sync> axum::extract::FromRequestParts<S> for Places {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}
