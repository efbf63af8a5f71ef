//! Sessions as axum extractors.

use axum::extract::FromRequestParts;
use http::{StatusCode, request::Parts};

use super::{handle::session::Session, marked::Marked};
use crate::log_pace::{LogPace, uptime};

/// The session of the request, without asking Redis for it.
///
/// Where no [`SessionLayer`](super::SessionLayer) is around the handler, it answers 500 with what to do.
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        extension(parts, MISSING)
    }
}

/// The session of another cookie, as [`Session`] is that of the first.
impl<S: Sync, M: 'static> FromRequestParts<S> for Marked<M> {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        extension(parts, MISSING_MARKED)
    }
}

fn extension<T: Clone + Send + Sync + 'static>(
    parts: &Parts,
    missing: &'static str,
) -> Result<T, (StatusCode, &'static str)> {
    parts.extensions.get::<T>().cloned().ok_or_else(|| {
        if let Some(omitted) = NO_LAYER.admit(uptime()) {
            tracing::error!(target: "tower_fred::session", path = parts.uri.path(), omitted, "{missing}");
        }
        (StatusCode::INTERNAL_SERVER_ERROR, missing)
    })
}

static NO_LAYER: LogPace = LogPace::new();

const MISSING: &str = "no session: add `SessionLayer` around this route";
const MISSING_MARKED: &str =
    "no session with this marker: add `SessionLayer::marked` around this route";
