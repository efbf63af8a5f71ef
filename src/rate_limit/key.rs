//! What a request is counted by.

use http::{HeaderName, request::Parts};

use super::identity::Identity;

/// What a request is counted by: [`PeerIp`](super::PeerIp), a [`Header`], a function, or a type of your own.
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
