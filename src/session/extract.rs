//! The session as an axum extractor.

use axum::extract::FromRequestParts;
use http::{StatusCode, request::Parts};

use super::session::Session;

/// The session of the request, without asking Redis for it.
///
/// Where no [`SessionLayer`](super::SessionLayer) is around the handler, it answers 500 with what to do.
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let session = parts.extensions.get::<Self>().cloned();
        session.ok_or_else(|| {
            tracing::error!(target: "tower_fred::session", path = parts.uri.path(), "{MISSING}");
            (StatusCode::INTERNAL_SERVER_ERROR, MISSING)
        })
    }
}

const MISSING: &str = "no session: add `SessionLayer` around this route";
