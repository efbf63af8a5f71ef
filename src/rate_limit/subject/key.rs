//! What a request is counted by.

use http::request::Parts;

use super::{identity::Identity, search::Search};

/// What a request is counted by: [`PeerIp`](crate::rate_limit::PeerIp), [`ForwardedIp`](crate::rate_limit::ForwardedIp), a [`Header`](crate::rate_limit::Header), a tuple of
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
