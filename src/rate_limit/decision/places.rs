//! The places of a request whose connection outlives its response.

use std::sync::{Arc, Weak};

use http::Extensions;

use crate::rate_limit::script::lease::Lease;

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
#[derive(Clone, Debug, Default)]
pub struct Places(Vec<Weak<Lease>>);

impl Places {
    /// Keeps the places until the guard is dropped.
    ///
    /// Before the response body ends: from then on there is nothing to keep.
    pub fn guard(&self) -> PlaceGuard {
        PlaceGuard {
            _places: self.0.iter().filter_map(Weak::upgrade).collect(),
        }
    }

    /// Adds these places to those that the request holds by limits further out.
    pub(crate) fn add(extensions: &mut Extensions, places: &[Arc<Lease>]) {
        if !places.is_empty() {
            let all: &mut Self = extensions.get_or_insert_default();
            all.0.extend(places.iter().map(Arc::downgrade));
        }
    }
}

/// Keeps places under [concurrency](crate::rate_limit::Policy::concurrency) policies until it is dropped. Made by [`Places::guard`].
#[derive(Debug)]
#[must_use = "the places are given back when this is dropped"]
pub struct PlaceGuard {
    _places: Vec<Arc<Lease>>,
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
