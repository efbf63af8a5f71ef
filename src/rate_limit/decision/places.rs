//! The places of a request, and a guard for connections that outlive their response.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use http::Extensions;

/// The places that a request holds under [concurrency](crate::rate_limit::Policy::concurrency) policies.
///
/// A place is given back when the response body ends. When a connection is upgraded, for example to a WebSocket, that
/// is at once. So the handler takes a [`PlaceGuard`] and drops it when the connection ends. An upgraded connection
/// without a guard is not counted; the first one is logged.
///
/// `Places` is in the extensions of the request, and with the feature `axum` it is an extractor. It is empty when the
/// request holds no place, because there is no such policy or Redis fails.
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
    /// Call it before the response body ends: at the end of the body the places are given back.
    pub fn guard(&self) -> PlaceGuard {
        PlaceGuard {
            _places: self.0.iter().filter_map(Weak::upgrade).map(Place).collect(),
        }
    }

    /// Adds these places to those that outer layers have put into the request.
    pub(crate) fn add(extensions: &mut Extensions, places: &[Place]) {
        if !places.is_empty() {
            let all: &mut Self = extensions.get_or_insert_default();
            all.0
                .extend(places.iter().map(|Place(lease)| Arc::downgrade(lease)));
        }
    }
}

/// Keeps places under [concurrency](crate::rate_limit::Policy::concurrency) policies until it is dropped. Made by
/// [`Places::guard`].
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

    /// Whether a clone or a guard holds it too.
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
