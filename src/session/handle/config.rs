//! The settings of a layer, shared by its services and requests.

use crate::session::{
    callbacks::{
        client_description::ClientDescription, commit_predicate::CommitPredicate,
        security_event::SecurityHook,
    },
    cookie::attributes::CookieAttributes,
    store::session_store::SessionStore,
};

/// See [`SessionLayer`](crate::session::SessionLayer) for each of them.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) store: SessionStore,
    pub(crate) cookie: CookieAttributes,
    pub(crate) anonymous_on_failure: bool,
    pub(crate) hook: Option<SecurityHook>,
    pub(crate) describe: Option<ClientDescription>,
    pub(crate) commits: CommitPredicate,
    #[cfg(feature = "tower-sessions-import")]
    pub(crate) import: Option<crate::session::import::tower_sessions::TowerSessions>,
}

impl Config {
    pub(crate) fn new(store: SessionStore) -> Self {
        Self {
            store,
            cookie: CookieAttributes::new(),
            anonymous_on_failure: false,
            hook: None,
            describe: None,
            commits: CommitPredicate::default(),
            #[cfg(feature = "tower-sessions-import")]
            import: None,
        }
    }

    /// Whether a session is treated the same by both layers.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        self.store.settings.agree_with(&other.store.settings)
            && self.cookie.attributes() == other.cookie.attributes()
            && self.anonymous_on_failure == other.anonymous_on_failure
            && self.is_observed_as(other)
    }

    /// Whether both call the same functions. Two closures are the same only if one was cloned from the other.
    fn is_observed_as(&self, other: &Self) -> bool {
        #[cfg(feature = "tower-sessions-import")]
        if self.import.is_some() != other.import.is_some() {
            return false;
        }
        self.hook == other.hook && self.describe == other.describe && self.commits == other.commits
    }
}
