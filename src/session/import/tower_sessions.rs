//! [`TowerSessions`]: where tower-sessions kept its sessions.

use std::{collections::HashMap, fmt, sync::Arc};

use serde_json::Value as Json;

use crate::session::cookie::attributes::CookieAttributes;

/// Where tower-sessions kept its sessions, for [`SessionLayer::import_tower_sessions`](crate::SessionLayer::import_tower_sessions).
///
/// ```no_run
/// use tower_fred::{Redis, SessionLayer, session::TowerSessions};
///
/// # fn example(redis: Redis) {
/// let layer = SessionLayer::new(redis).import_tower_sessions(
///     TowerSessions::new().cookie_name("shop.sid").user_from(|values| {
///         Some(values.get("user_id")?.as_str()?.to_owned())
///     }),
/// );
/// # let _ = layer;
/// # }
/// ```
#[derive(Clone)]
pub struct TowerSessions {
    pub(crate) cookie: CookieAttributes,
    pub(crate) prefix: String,
    pub(crate) user_from: Option<UserFrom>,
}

type UserFrom = Arc<dyn Fn(&HashMap<String, Json>) -> Option<String> + Send + Sync>;

impl TowerSessions {
    /// The defaults of tower-sessions and its Redis store: a cookie `id` for the path `/`, keys without prefix.
    #[expect(clippy::new_without_default, reason = "as the other settings")]
    pub fn new() -> Self {
        Self {
            // Without a name prefix; the attributes matter only for the removal of the cookie.
            cookie: CookieAttributes::new().without_secure(),
            prefix: String::new(),
            user_from: None,
        }
    }

    /// The name of the old cookie; default `id`.
    ///
    /// # Panics
    ///
    /// As [`SessionLayer::cookie_name`](crate::SessionLayer::cookie_name).
    #[must_use]
    pub fn cookie_name(mut self, name: impl Into<String>) -> Self {
        self.cookie = self.cookie.with_name(name.into());
        self
    }

    /// The domain of the old cookie, without which it cannot be removed; default: none.
    ///
    /// # Panics
    ///
    /// When it is no host name.
    #[must_use]
    pub fn cookie_domain(mut self, domain: impl Into<String>) -> Self {
        self.cookie = self.cookie.with_domain(domain.into());
        self
    }

    /// What the old keys begin with; default: nothing.
    #[must_use]
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Finds the user of an old session in its values; default: no user. The user is then logged in to the new session.
    #[must_use]
    pub fn user_from(
        mut self,
        user_from: impl Fn(&HashMap<String, Json>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.user_from = Some(Arc::new(user_from));
        self
    }
}

impl fmt::Debug for TowerSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerSessions").finish_non_exhaustive()
    }
}
