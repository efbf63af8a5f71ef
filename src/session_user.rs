//! Rate limits by the user of the session. The only code that uses two of the layers.

use http::request::Parts;

use crate::{
    error::Error,
    rate_limit::{Identity, Key, Search},
    session::Session,
};

/// A [`Key`] for [`RateLimitLayer::by`](crate::RateLimitLayer::by): the user that [`Session::login`] logged in.
///
/// The session layer must be outside of the limit. Reading the user takes one round trip; the handler can then read the
/// session without another one. A request without a session or without a user has no key. When the session cannot be
/// read, the limit does what it is set to do when Redis fails, as [`Search::fallible`] describes.
///
/// Reading the user does not keep the response out of a cache and adds no `Vary: Cookie`, since the handler's response does
/// not depend on it. Responses of the limit itself, such as 429, are never stored.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_fred::{RateLimitLayer, Redis, SessionLayer, SessionUser, rate_limit::{PeerIp, Policy, Quota}};
///
/// fn layers(redis: Redis) -> impl Clone {
///     // All requests by address, and those of users who are logged in also by user.
///     let limit = RateLimitLayer::new(redis.clone(), Policy::new("address", Quota::per_minute(600)))
///         .by(PeerIp)
///         .and_by(SessionUser, Policy::new("user", Quota::per_minute(300)))
///         .missing_key_allow();
///     ServiceBuilder::new().layer(SessionLayer::new(redis)).layer(limit)
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionUser;

impl Key for SessionUser {
    fn identity(&self, _: &Parts) -> Option<Identity> {
        None
    }

    fn search(&self, request: &Parts) -> Option<Search> {
        let session = request.extensions.get::<Session>()?.clone();
        Some(Search::fallible(async move {
            let user = session.user_unmarked().await?;
            Ok::<_, Error>(user.map(Identity::from))
        }))
    }

    fn needs(&self) -> &str {
        "the user of a session, and SessionLayer outside of this layer"
    }
}
