//! Events for the application: a token for which there is no session.

use std::{fmt, sync::Arc};

/// A token for which there was no session, for the hook of
/// [`SessionLayer::on_security_event`](crate::session::SessionLayer::on_security_event).
///
/// A single event means little: sessions end, and a slow tab sends an old token. Many events from one client mean that
/// somebody guesses tokens.
#[derive(Debug)]
pub struct SecurityEvent<'a> {
    suspicion: Suspicion,
    session: String,
    client: Option<&'a str>,
}

/// What was wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suspicion {
    /// There is no session with this id: it ended, or never existed.
    Unknown,
    /// There is a session with this id, but it has another secret.
    Mismatch,
    /// A login or a rotation replaced the token less than a minute ago.
    Stale,
}

impl SecurityEvent<'_> {
    /// What was wrong.
    pub fn suspicion(&self) -> Suspicion {
        self.suspicion
    }

    /// A keyed hash of the session's id, as the log has it: see
    /// [`SessionStore::log_key`](crate::session::SessionStore::log_key).
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The client, if the layer has a [function](crate::session::SessionLayer::client_from) that names it.
    pub fn client(&self) -> Option<&str> {
        self.client
    }
}

impl<'a> SecurityEvent<'a> {
    pub(crate) fn new(suspicion: Suspicion, session: String, client: Option<&'a str>) -> Self {
        Self {
            suspicion,
            session,
            client,
        }
    }
}

impl Suspicion {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Unknown => "no session for the token",
            Self::Mismatch => "the session has another secret",
            Self::Stale => "the token was replaced",
        }
    }
}

/// The application's function for security events.
#[derive(Clone)]
pub(crate) struct SecurityHook(Arc<dyn Fn(&SecurityEvent<'_>) + Send + Sync>);

impl SecurityHook {
    pub(crate) fn new(hook: impl Fn(&SecurityEvent<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    pub(crate) fn call(&self, event: &SecurityEvent<'_>) {
        (self.0)(event);
    }
}

impl PartialEq for SecurityHook {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for SecurityHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecurityHook(..)")
    }
}
