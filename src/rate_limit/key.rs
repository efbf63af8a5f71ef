//! What a request is counted by.

use std::{fmt, future::Future, pin::Pin};

use http::{HeaderName, header::AUTHORIZATION, request::Parts};

use super::identity::Identity;

/// What a request is counted by: [`PeerIp`](super::PeerIp), [`ForwardedIp`](super::ForwardedIp), a [`Header`], a tuple of
/// keys, a function, or a type of your own.
///
/// A function sees the head of the request, never the body, and gives anything that makes an [`Identity`]. Where a
/// request has no key, [`missing_key_allow`](super::RateLimitLayer::missing_key_allow) and its siblings decide.
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

/// A search for who a request counts against.
pub struct Search(Pin<Box<dyn Future<Output = Option<Identity>> + Send>>);

impl Search {
    /// Searches by this future, which gives `None` when the request does not say.
    pub fn new(future: impl Future<Output = Option<Identity>> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }

    pub(super) async fn found(self) -> Option<Identity> {
        self.0.await
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
/// async fn owner(key: String) -> Option<u64> {
/// #   let _ = key;
///     // A query.
///     Some(7)
/// }
///
/// let by_owner = AsyncKey::new(|request: &Parts| {
///     let key = request.headers.get("x-api-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
///     async move { owner(key?).await }
/// });
/// ```
pub struct AsyncKey(Box<dyn Fn(&Parts) -> Search + Send + Sync>);

impl AsyncKey {
    /// Counts by what `find` gives, and by nothing when it gives `None`.
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
}

impl Key for AsyncKey {
    fn identity(&self, _: &Parts) -> Option<Identity> {
        None
    }

    fn search(&self, request: &Parts) -> Option<Search> {
        Some((self.0)(request))
    }
}

impl fmt::Debug for AsyncKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncKey").finish_non_exhaustive()
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

/// Several keys together: requests are one subject when all of them are the same.
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
                let parts = [$(($key.search(request), $key.identity(request))),+];
                parts.iter().any(|(search, _)| search.is_some()).then(|| {
                    Search::new(async move {
                        let mut identities = Vec::with_capacity(parts.len());
                        for (search, identity) in parts {
                            identities.push(match search {
                                Some(search) => search.found().await?,
                                None => identity?,
                            });
                        }
                        Some(Identity::all_of(&identities))
                    })
                })
            }

            fn needs(&self) -> &str {
                "all parts of a key"
            }
        }
    };
}

tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);
