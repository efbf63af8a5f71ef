//! Two session layers around one handler, as when a nested router has a layer of its own.
//!
//! A browser keeps one cookie of each name, so the cookies of two layers with the same name would replace each other.
//! When both layers have the same sessions, the inner layer uses the session of the outer layer, which writes it.

use std::sync::Arc;

use http::Extensions;

use super::{
    handle::{config::Config, session::Session},
    marked::Marked,
};
use crate::log_pace::{LogPace, uptime};

/// Where in a request's extensions a layer leaves its session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    give: fn(&mut Extensions, Session),
    find: fn(&Extensions) -> Option<&Session>,
}

impl Slot {
    /// For a layer without a marker: under the type [`Session`].
    pub(crate) fn unmarked() -> Self {
        Self {
            give: |extensions, session| {
                extensions.insert(session);
            },
            find: |extensions| extensions.get(),
        }
    }

    /// For a layer with the marker `M`: under [`Marked<M>`], and as the innermost of all layers with a marker.
    pub(crate) fn marked<M: 'static>() -> Self {
        Self {
            give: |extensions, session| {
                extensions.insert(InnermostMarked(session.clone()));
                extensions.insert(Marked::<M>::new(session));
            },
            find: |extensions| extensions.get().map(|InnermostMarked(session)| session),
        }
    }

    /// Leaves the session for the handler.
    pub(crate) fn give(self, extensions: &mut Extensions, session: Session) {
        (self.give)(extensions, session);
    }

    /// The session that the next layer outside left in the same place.
    pub(crate) fn find(self, extensions: &Extensions) -> Option<&Session> {
        (self.find)(extensions)
    }
}

/// The session of the innermost [marked](super::SessionLayer::marked) layer around a handler, whatever its marker.
///
/// A layer without a marker leaves its [`Session`] in the extensions under that type, and needs no second place.
#[derive(Clone)]
struct InnermostMarked(Session);

/// The session of a layer outside of this one that has the same cookie and the same sessions.
///
/// Logs an error where a layer outside has the same cookie and other sessions or settings.
pub(crate) fn outer(extensions: &Extensions, config: &Arc<Config>) -> Option<Session> {
    let session = extensions.get::<Session>();
    let marked = extensions.get::<InnermostMarked>().map(|marked| &marked.0);
    [session, marked]
        .into_iter()
        .flatten()
        .flat_map(Session::with_outer)
        // A session whose response has left cannot set a cookie: the extensions were copied from an earlier request.
        .filter(|session| session.has_cookie_of(config) && !session.state().is_sent())
        .find(|session| is_the_same(&session.inner.config, config))
        .cloned()
}

/// Whether `outer`, which has the same cookie name as `inner`, also has the same sessions.
fn is_the_same(outer: &Arc<Config>, inner: &Arc<Config>) -> bool {
    if Arc::ptr_eq(outer, inner) {
        return true;
    }
    let same = outer.store.has_sessions_of(&inner.store);
    let (pace, text) = if !same {
        (
            &APART,
            "two session layers around a handler have the same cookie name and different sessions: their cookies replace each other",
        )
    } else if outer.agrees_with(inner) {
        return true;
    } else {
        (
            &UNLIKE,
            "two session layers around a handler have the same cookie name and different settings: those of the outer layer count",
        )
    };
    if let Some(omitted) = pace.admit(uptime()) {
        let cookie = inner.cookie.name();
        tracing::error!(target: "tower_fred::session", cookie, omitted, "{text}");
    }
    same
}

static APART: LogPace = LogPace::new();
static UNLIKE: LogPace = LogPace::new();
