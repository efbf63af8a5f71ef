//! What a request is counted by.

use http::{HeaderName, header::AUTHORIZATION, request::Parts};

use super::{
    identity::Identity,
    search::{Failure, Found, Search},
};

/// What a request is counted by: [`PeerIp`](crate::rate_limit::PeerIp), [`ForwardedIp`](crate::rate_limit::ForwardedIp), a [`Header`], a tuple of
/// keys, a function, or a type of your own.
///
/// A function sees the head of the request, never the body, and gives anything that makes an [`Identity`]. Where a
/// request has no key, [`missing_key_allow`](crate::rate_limit::RateLimitLayer::missing_key_allow) and its siblings decide.
///
/// ```
/// use http::request::Parts;
/// use tower_fred::rate_limit::Key;
///
/// fn by_tenant(request: &Parts) -> Option<String> {
///     let (tenant, _) = request.uri.path().strip_prefix("/t/")?.split_once('/')?;
///     Some(tenant.to_owned())
/// }
///
/// let (request, ()) = http::Request::get("/t/acme/orders").body(())?.into_parts();
/// assert_eq!(by_tenant.identity(&request), Some("acme".into()));
/// # Ok::<_, http::Error>(())
/// ```
pub trait Key: Send + Sync + 'static {
    /// Who the request counts against, or `None` when it does not say.
    fn identity(&self, request: &Parts) -> Option<Identity>;

    /// The same for a key that has to look somewhere else first, such as a session; `None` for one that has not.
    /// Where there is a search, [`identity`](Self::identity) is not asked.
    fn search(&self, request: &Parts) -> Option<Search> {
        let _ = request;
        None
    }

    /// What a request without this key is counted by where such requests
    /// [share a budget](crate::rate_limit::RateLimitLayer::missing_key_shared). By default that is one budget for all of them; a tuple
    /// of keys puts the default in the place of the parts that are missing and keeps the others apart.
    fn stand_in(&self, request: &Parts) -> Identity {
        let _ = request;
        Identity::nobody()
    }

    /// What a request without a key lacks, for one line in the log. It must not tell anything about the request.
    fn needs(&self) -> &str {
        "a key"
    }
}

impl<F, T> Key for F
where
    F: Fn(&Parts) -> Option<T> + Send + Sync + 'static,
    T: Into<Identity>,
{
    fn identity(&self, request: &Parts) -> Option<Identity> {
        self(request).map(Into::into)
    }
}

/// Counts by the value of a header field, such as an API key: the bytes of its first line as they are.
///
/// A client can send what it likes. Use it behind something that verifies the value, or beside a limit by address:
/// otherwise a new value is a new budget.
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

/// Counts by a bearer token (RFC 6750 §2.1): what `Authorization` has after `Bearer`.
///
/// A client can send what it likes. Use it behind something that verifies the token, or beside a limit by address.
#[derive(Clone, Copy, Debug, Default)]
pub struct BearerToken;

impl Key for BearerToken {
    fn identity(&self, request: &Parts) -> Option<Identity> {
        let value = request.headers.get(AUTHORIZATION)?.as_bytes();
        let at = value.iter().position(|byte| *byte == b' ')?;
        let (scheme, token) = value.split_at(at);
        let token = token.trim_ascii();
        // RFC 9110 §11.1: the scheme in any case
        let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty();
        is_bearer.then(|| Identity::header(&AUTHORIZATION, token))
    }

    fn needs(&self) -> &str {
        "a bearer token"
    }
}

/// Counts by the method: one budget for each. In a tuple with another key: `(PeerIp, Method)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Method;

impl Key for Method {
    fn identity(&self, request: &Parts) -> Option<Identity> {
        Some(request.method.as_str().into())
    }
}

/// Counts by the route that axum found, such as `/users/{id}`: one budget for each. In a tuple with another key:
/// `(PeerIp, MatchedPath)`. Needs the feature `axum`, and a layer that `Router::layer` or `route_layer` added.
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

/// Several keys together: requests are one subject when all of them are the same. Where a part is missing the key is
/// missing, and requests that share a budget for that reason still differ in the parts that they have.
macro_rules! tuple {
    ($($key:ident),+) => {
        impl<$($key: Key),+> Key for ($($key,)+) {
            fn identity(&self, request: &Parts) -> Option<Identity> {
                #[allow(non_snake_case, reason = "named as their types are")]
                let ($($key,)+) = self;
                Some(Identity::all_of(&[$($key.identity(request)?),+]))
            }

            fn search(&self, request: &Parts) -> Option<Search> {
                #[allow(non_snake_case, reason = "named as their types are")]
                let ($($key,)+) = self;
                let parts = [$(Part::of($key, request)),+];
                let searches = parts.iter().any(|part| matches!(part, Part::Open(_)));
                searches.then(|| Search::of(all_of(parts.into())))
            }

            fn stand_in(&self, request: &Parts) -> Identity {
                #[allow(non_snake_case, reason = "named as their types are")]
                let ($($key,)+) = self;
                Identity::all_of(&[$($key.identity(request).unwrap_or_else(|| $key.stand_in(request))),+])
            }

            fn needs(&self) -> &str {
                "all parts of a key"
            }
        }
    };
}

/// One key of a tuple, for one request.
enum Part {
    Known(Found),
    Open(Search),
}

impl Part {
    fn of(key: &impl Key, request: &Parts) -> Self {
        if let Some(search) = key.search(request) {
            return Self::Open(search);
        }
        Self::Known(match key.identity(request) {
            Some(identity) => Found::Identity(identity),
            None => Found::Missing(key.stand_in(request)),
        })
    }
}

/// Searches for the parts in their order. With one part missing the whole is missing.
async fn all_of(parts: Vec<Part>) -> Result<Found, Failure> {
    let mut identities = Vec::with_capacity(parts.len());
    let mut is_whole = true;
    for part in parts {
        let found = match part {
            Part::Known(found) => found,
            Part::Open(search) => search.found().await?,
        };
        is_whole &= matches!(found, Found::Identity(_));
        let (Found::Identity(identity) | Found::Missing(identity)) = found;
        identities.push(identity);
    }
    let identity = Identity::all_of(&identities);
    Ok(match is_whole {
        true => Found::Identity(identity),
        false => Found::Missing(identity),
    })
}

tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);
