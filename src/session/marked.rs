//! [`Marked`]: the session of a second cookie, told from the first by a type.

use std::{fmt, marker::PhantomData, ops::Deref};

use super::handle::session::Session;

/// The session of another cookie. See [`SessionLayer::marked`](super::SessionLayer::marked).
///
/// ```no_run
/// use tower_fred::{Redis, Session, SessionLayer, session::{Marked, SessionStore}};
///
/// struct Admin;
///
/// # fn example(redis: Redis) {
/// let visitors = SessionLayer::new(redis.clone());
/// let admins = SessionLayer::marked::<Admin>(SessionStore::new(redis), "admin");
/// # let _ = (visitors, admins);
/// # }
///
/// async fn handler(request: http::Request<()>) -> Result<bool, tower_fred::Error> {
///     let visitor = request.extensions().get::<Session>().expect("the layer above");
///     let admin = request.extensions().get::<Marked<Admin>>().expect("the layer above");
///     Ok(admin.user().await?.is_some() && visitor.user().await?.is_some())
/// }
/// ```
pub struct Marked<M> {
    session: Session,
    marker: PhantomData<fn() -> M>,
}

impl<M> Marked<M> {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            marker: PhantomData,
        }
    }
}

impl<M> Deref for Marked<M> {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl<M> Clone for Marked<M> {
    fn clone(&self) -> Self {
        Self::new(self.session.clone())
    }
}

impl<M> fmt::Debug for Marked<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marked").finish_non_exhaustive()
    }
}
