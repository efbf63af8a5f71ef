//! Layers around one handler that have a cookie of the same name: a module's router with its own layer, nested.
//!
//! A browser keeps one cookie of a name, so two sessions of that name would replace each other. Where both layers mean the
//! same sessions, the inner one goes on with the session of the outer one, which writes it.

use std::sync::Arc;

use http::Extensions;

use super::{handle::session::Session, layer::Shared};
use crate::log_pace::{LogPace, uptime};

/// The session of the innermost [marked](super::SessionLayer::marked) layer around a handler, whatever its marker.
///
/// A layer without a marker leaves its [`Session`] in the extensions under that type, and needs no second place.
#[derive(Clone)]
pub(super) struct InnermostMarked(pub(super) Session);

/// The session of a layer outside of this one that has the same cookie and the same sessions.
///
/// Logs an error where a layer outside has the same cookie and other sessions or settings.
pub(super) fn outer(extensions: &Extensions, shared: &Arc<Shared>) -> Option<Session> {
    let session = extensions.get::<Session>();
    let marked = extensions.get::<InnermostMarked>().map(|marked| &marked.0);
    [session, marked]
        .into_iter()
        .flatten()
        .flat_map(Session::with_outer)
        // One whose response has left can set no cookie: these are the extensions of a request within another.
        .filter(|session| session.has_cookie_of(shared) && !session.state().is_sent())
        .find(|session| is_the_same(&session.inner.shared, shared))
        .cloned()
}

/// Whether `outer`, which has the cookie of `inner`, has its sessions too.
fn is_the_same(outer: &Arc<Shared>, inner: &Arc<Shared>) -> bool {
    if Arc::ptr_eq(outer, inner) {
        return true;
    }
    let same = outer.store.has_sessions_of(&inner.store);
    let (pace, text) = if !same {
        (
            &APART,
            "two session layers around a handler have one cookie and sessions apart: their cookies replace each other",
        )
    } else if outer.agrees_with(inner) {
        return true;
    } else {
        (
            &UNLIKE,
            "two session layers around a handler have one cookie and other settings: those of the outer layer count",
        )
    };
    if let Some(omitted) = pace.admit(uptime()) {
        let cookie = inner.cookie.name();
        tracing::error!(target: "tower_fred::session", cookie, omitted, "{text}");
    }
    same
}

impl Shared {
    /// Whether it makes no difference which of the two looks after a session.
    fn agrees_with(&self, other: &Self) -> bool {
        self.store.settings.agree_with(&other.store.settings)
            && self.cookie.attributes() == other.cookie.attributes()
            && self.anonymous_on_failure == other.anonymous_on_failure
            && self.is_observed_as(other)
    }

    /// Whether both tell the same functions. Two closures are the same only if one was cloned from the other.
    fn is_observed_as(&self, other: &Self) -> bool {
        #[cfg(feature = "tower-sessions-import")]
        if self.import.is_some() != other.import.is_some() {
            return false;
        }
        self.hook == other.hook && self.describe == other.describe && self.commits == other.commits
    }
}

static APART: LogPace = LogPace::new();
static UNLIKE: LogPace = LogPace::new();
