//! Sessions that tower-sessions left in Redis, taken over as their browsers come back.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use serde_json::Value as Json;

use super::moving::Moved;
use crate::error::Error;
use crate::session::{
    cookie::{
        config::CookieConfig,
        cookie::{set_cookie, values},
    },
    handle::session::Session,
    layer::SessionLayer,
    record::record::Record,
    state::state::Cookie,
    store::records::unix_millis,
};

/// Where tower-sessions kept its sessions, for [`SessionLayer::import_tower_sessions`].
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
    cookie: CookieConfig,
    pub(crate) prefix: String,
    pub(crate) user_from: Option<UserFrom>,
}

type UserFrom = Arc<dyn Fn(&HashMap<String, Json>) -> Option<String> + Send + Sync>;

/// A session that the browser names, and its cookie.
pub(crate) struct Legacy {
    pub(crate) id: i128,
    pub(crate) settings: TowerSessions,
    pub(crate) stage: Stage,
}

/// What this request did with the old session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing yet.
    Untouched,
    /// It is to be ended.
    LoggedOut,
    /// It is a new one now, or ended: its cookie is removed.
    Over,
}

impl TowerSessions {
    /// The defaults of tower-sessions and its Redis store: a cookie `id` for the path `/`, keys without prefix.
    #[expect(clippy::new_without_default, reason = "as the other settings")]
    pub fn new() -> Self {
        Self {
            // No prefix of its own; the rest only matters when the cookie is removed.
            cookie: CookieConfig::new().without_secure(),
            prefix: String::new(),
            user_from: None,
        }
    }

    /// The name of the old cookie; default `id`.
    ///
    /// # Panics
    ///
    /// As [`SessionLayer::cookie_name`].
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

    /// Who is logged in to an old session, by its values; default: nobody. The user is logged in to the new one as well.
    #[must_use]
    pub fn user_from(
        mut self,
        user_from: impl Fn(&HashMap<String, Json>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.user_from = Some(Arc::new(user_from));
        self
    }

    /// The session that a browser names, if it does.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Option<Legacy> {
        let mut found = None;
        values(headers, self.cookie.name(), |value| {
            let mut bytes = [0; 16];
            if value.len() == 22 && URL_SAFE_NO_PAD.decode_slice(value, &mut bytes) == Ok(16) {
                found = Some(i128::from_le_bytes(bytes));
            }
        });
        Some(Legacy {
            id: found?,
            settings: self.clone(),
            stage: Stage::Untouched,
        })
    }
}

impl fmt::Debug for TowerSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerSessions").finish_non_exhaustive()
    }
}

impl SessionLayer {
    /// Takes over the sessions that tower-sessions 0.14 and its Redis store 0.16 left on this server.
    ///
    /// When a browser without a session of ours uses its session and names an old one, its values become those of a new
    /// session with a new token, and the old cookie is removed. The old record is only read. Values that no session of
    /// ours can have are left out, with a warning.
    ///
    /// Of requests that come at once with the same old cookie, one makes the new session and brings its cookie. The others
    /// wait for it and are given the same session, without a cookie of their own; so are those that come within the
    /// [grace](crate::session::SessionStore::renewal_grace) after it. Later, the old cookie opens nothing. When the one that makes
    /// the session does not finish, another does it after a moment; a request that waits for longer than two deadlines
    /// gets an [unavailable](Error::is_unavailable) error, 503 with `Retry-After` as a response.
    ///
    /// [`Session::logout`] also ends an old session that was not taken over yet. [`SessionStore::revoke_all`] does so for
    /// a user whom [`user_from`](TowerSessions::user_from) names: an old session is older than any revocation, so it is
    /// not taken over, and its cookie is removed. Without `user_from`, a revocation knows nothing of old sessions.
    ///
    /// The Redis user must be allowed to `GET` the old keys.
    ///
    /// [`SessionStore::revoke_all`]: crate::session::SessionStore::revoke_all
    #[must_use]
    pub fn import_tower_sessions(mut self, from: TowerSessions) -> Self {
        Arc::make_mut(&mut self.shared).import = Some(from);
        self
    }
}

impl Session {
    /// Takes over the session that the browser had, if it had one. The caller holds the I/O lock.
    pub(crate) async fn import(&self) -> Result<(), Error> {
        let target = {
            let state = self.state();
            (!state.is_sent()).then(|| state.target())
        };
        let Some(Ok(job)) = target else {
            return Ok(());
        };
        let named = match &*self.legacy() {
            Some(legacy) if legacy.stage == Stage::Untouched => {
                (legacy.id, legacy.settings.clone())
            }
            _ => return Ok(()),
        };
        if !job.held.is_empty() || job.verified {
            return Ok(());
        }
        let (id, settings) = named;
        let moved = match self.store().take_over(id, &settings).await {
            Err(error) if error.is_unavailable() && self.inner.shared.anonymous_on_failure => {
                return Ok(());
            }
            moved => moved?,
        };
        let codec = self.store().settings.codec.clone();
        match moved {
            Moved::Here(begun, changes) => {
                let token = begun.token;
                let record = Record::new(token.id(), token.lineage(), codec);
                let now = unix_millis();
                let mut state = self.state();
                state.place = begun.place;
                state.created(&job, token, record, begun.remembered, &changes, now);
                drop(state);
                self.leave(Stage::Over);
            }
            // Another request brings the cookie.
            Moved::Elsewhere(held) => {
                self.state().adopted(&job, held);
                *self.legacy() = None;
            }
            Moved::Refused => self.leave(Stage::Over),
            Moved::Nothing => *self.legacy() = None,
        }
        Ok(())
    }

    /// Notes that the old session is to be ended as well.
    pub(crate) fn log_out_imported(&self) {
        if let Some(legacy) = self.legacy().as_mut() {
            legacy.stage = Stage::LoggedOut;
        }
    }

    /// Whether an old session that was logged out can still be taken over.
    pub(crate) fn imported_goes_on(&self) -> bool {
        let legacy = self.legacy();
        legacy
            .as_ref()
            .is_some_and(|legacy| legacy.stage == Stage::LoggedOut)
    }

    /// Ends the old session, if it was logged out: nobody takes it over from now on, and what another request made of it a
    /// moment ago ends. The caller holds the I/O lock.
    pub(crate) async fn end_imported(&self) -> Result<(), Error> {
        let id = match &*self.legacy() {
            Some(legacy) if legacy.stage == Stage::LoggedOut => legacy.id,
            _ => return Ok(()),
        };
        self.store().end_old(id).await?;
        self.leave(Stage::Over);
        Ok(())
    }

    /// Removes the cookie of a session that was taken over or ended.
    pub(crate) fn forget_imported(&self, headers: &mut HeaderMap) {
        let removal = match &*self.legacy() {
            Some(legacy) if legacy.stage == Stage::Over => {
                set_cookie(&legacy.settings.cookie, &Cookie::Remove)
            }
            _ => return,
        };
        headers.append(header::SET_COOKIE, removal);
    }

    fn leave(&self, stage: Stage) {
        if let Some(legacy) = self.legacy().as_mut() {
            legacy.stage = stage;
        }
    }

    fn legacy(&self) -> std::sync::MutexGuard<'_, Option<Legacy>> {
        let legacy = &self.inner.legacy;
        legacy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The values of an old record that is the one asked for and has not ended: an array of the id, the values, and the end as
/// year, day of the year, hour, minute, second, nanosecond and the offset from UTC in hours, minutes and seconds.
pub(crate) fn parse(bytes: &[u8], id: i128) -> Option<HashMap<String, Json>> {
    type Time = (i64, i64, i64, i64, i64, i64, i64, i64, i64);
    let (found, values, end): (i128, HashMap<String, Json>, Time) =
        rmp_serde::from_slice(bytes).ok()?;
    let (year, day, hour, minute, second, _, hours, minutes, seconds) = end;
    // Days since 1970 in the proleptic Gregorian calendar.
    let years = year.checked_sub(1)?;
    let leaps = years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    let days = years
        .checked_mul(365)?
        .checked_add(leaps)?
        .checked_add(day)?;
    let local = days
        .checked_sub(EPOCH)?
        .checked_mul(86_400)?
        .checked_add(hour.checked_mul(3600)?)?
        .checked_add(minute.checked_mul(60)?)?
        .checked_add(second)?;
    let offset = hours
        .checked_mul(3600)?
        .checked_add(minutes.checked_mul(60)?)?;
    let end = local.checked_sub(offset.checked_add(seconds)?)?;
    (found == id && end.checked_mul(1000)? > unix_millis()).then_some(values)
}

/// The day before 1 January 1970, counted from the year 1.
const EPOCH: i64 = 719_163;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(id: i128, year: i64, day: i64) -> Vec<u8> {
        let values = HashMap::from([("a", 1)]);
        rmp_serde::to_vec(&(id, values, (year, day, 0, 0, 0, 0, 0, 0, 0))).unwrap()
    }

    #[test]
    fn only_the_record_asked_for_counts_and_only_while_it_lives() {
        assert_eq!(parse(&record(7, 3000, 1), 7).unwrap()["a"], 1);
        assert!(parse(&record(7, 3000, 1), 8).is_none());
        assert!(parse(&record(7, 2020, 366), 7).is_none());
        assert!(parse(&record(7, i64::MAX, i64::MAX), 7).is_none());
        assert!(parse(&record(7, i64::MIN, 1), 7).is_none());
        assert!(parse(b"", 7).is_none());
    }

    proptest! {
        #[test]
        fn nothing_stored_makes_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            end in proptest::array::uniform9(any::<i64>()),
        ) {
            let _ = parse(&bytes, 7);
            let _ = parse(&rmp_serde::to_vec(&(7_i128, HashMap::<String, u8>::new(), end)).unwrap(), 7);
        }
    }
}
