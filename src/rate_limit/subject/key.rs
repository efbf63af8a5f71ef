//! The trait of keys: they say who a request counts against.

use http::request::Parts;

use super::{identity::Identity, search::Search};

/// What a request is counted by: [`PeerIp`](crate::rate_limit::PeerIp),
/// [`ForwardedIp`](crate::rate_limit::ForwardedIp), a [`Header`](crate::rate_limit::Header), a tuple of keys, a
/// function, or a type of your own.
///
/// A function gets the head of the request, never the body, and returns anything that converts into an [`Identity`].
/// What happens to a request without a key is set by
/// [`missing_key_allow`](crate::rate_limit::RateLimitLayer::missing_key_allow) and its siblings.
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
    /// Who the request counts against, or `None` when the request has no such key.
    fn identity(&self, request: &Parts) -> Option<Identity>;

    /// The same for a key that has to be looked up first, for example in a session; `None` if this key need not.
    /// When this returns a search, [`identity`](Self::identity) is not called.
    fn search(&self, request: &Parts) -> Option<Search> {
        let _ = request;
        None
    }

    /// The subject of a request without this key, where such requests [share a
    /// budget](crate::rate_limit::RateLimitLayer::missing_key_shared). By default all of them are one subject. A tuple
    /// of keys uses the default only for the parts that are missing, so requests with different other parts are
    /// different subjects.
    fn stand_in(&self, request: &Parts) -> Identity {
        let _ = request;
        Identity::nobody()
    }

    /// What a request without this key lacks, for one line in the log. It must not contain data of the request.
    fn needs(&self) -> &str {
        "a key"
    }

    /// Whether all clients behind one proxy are one subject, as the key is the address of the connection. Only for one
    /// line in the log.
    #[doc(hidden)]
    fn is_of_peer(&self) -> bool {
        false
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
