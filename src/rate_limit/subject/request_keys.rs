//! Keys that are read from the head of a request.

use http::{HeaderName, header::AUTHORIZATION, request::Parts};

use super::{identity::Identity, key::Key};

/// Counts by the value of a header field, such as an API key: the bytes of its first line as they are.
///
/// A client can send any value, and each new value has a new budget. So verify the value before this layer, or add a
/// limit by address.
#[derive(Clone, Debug)]
pub struct Header(HeaderName);

impl Header {
    /// Counts by the field `name`.
    pub fn new(name: HeaderName) -> Self {
        Self(name)
    }
}

impl Key for Header {
    fn identity(&self, request: &Parts) -> Option<Identity> {
        let value = request.headers.get(&self.0)?;
        Some(Identity::header(&self.0, value.as_bytes()))
    }

    fn needs(&self) -> &str {
        self.0.as_str()
    }
}

/// Counts by a bearer token (RFC 6750 §2.1): the credentials after `Bearer` in `Authorization`.
///
/// A client can send any token, and each new token has a new budget. So verify the token before this layer, or add a
/// limit by address.
#[derive(Clone, Copy, Debug, Default)]
pub struct BearerToken;

impl Key for BearerToken {
    fn identity(&self, request: &Parts) -> Option<Identity> {
        let value = request.headers.get(AUTHORIZATION)?.as_bytes();
        let at = value.iter().position(|byte| *byte == b' ')?;
        let (scheme, token) = value.split_at(at);
        let token = token.trim_ascii();
        // RFC 9110 §11.1: the scheme is case-insensitive
        let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty();
        is_bearer.then(|| Identity::header(&AUTHORIZATION, token))
    }

    fn needs(&self) -> &str {
        "a bearer token"
    }
}

/// Counts by the method: one budget for each method. Usually part of a tuple: `(PeerIp, Method)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Method;

impl Key for Method {
    fn identity(&self, request: &Parts) -> Option<Identity> {
        Some(request.method.as_str().into())
    }
}

/// Counts by the route that axum matched, such as `/users/{id}`: one budget for each route. Usually part of a tuple:
/// `(PeerIp, MatchedPath)`. Needs the feature `axum`, and a layer that was added by `Router::layer` or `route_layer`.
#[cfg(feature = "axum")]
#[derive(Clone, Copy, Debug, Default)]
pub struct MatchedPath;

#[cfg(feature = "axum")]
impl Key for MatchedPath {
    fn identity(&self, request: &Parts) -> Option<Identity> {
        let path = request.extensions.get::<axum::extract::MatchedPath>()?;
        Some(path.as_str().into())
    }

    fn needs(&self) -> &str {
        "a route that axum matched"
    }
}
