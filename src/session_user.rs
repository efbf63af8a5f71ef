//! Limits by who is logged in: the one thing that needs two of the layers.

use http::request::Parts;

use crate::{
    error::Error,
    rate_limit::{Identity, Key, Search},
    session::Session,
};

/// Counts by the user of the session, as [`Session::login`] has it: a [`Key`] for
/// [`RateLimitLayer::by`](crate::RateLimitLayer::by).
///
/// The session layer is outside of the limit. Reading the user is one round trip, which the handler's own reads then need
/// not make. A request without a session or without a user has no key. Where the session cannot be read, the layer does
/// what it is told for when Redis fails, as [`Search::fallible`] describes.
///
/// This read does not keep the answer out of a cache and adds no `Vary: Cookie`: what the handler answers does not depend
/// on it. What the limit answers itself, such as 429, is never stored.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_fred::{RateLimitLayer, Redis, SessionLayer, SessionUser, rate_limit::{PeerIp, Policy, Quota}};
///
/// fn layers(redis: Redis) -> impl Clone {
///     // By address for everybody, and by user besides for those who are logged in.
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
