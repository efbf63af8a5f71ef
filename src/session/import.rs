//! Sessions that tower-sessions left in Redis, taken over as their browsers come back.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::{
    bounds::encode,
    changes::Changes,
    config::CookieConfig,
    cookie::{set_cookie, values},
    layer::SessionLayer,
    login::Login,
    record::{Record, millis},
    records::unix_millis,
    session::Session,
    state::Cookie,
    store::SessionStore,
};
use crate::{
    error::Error,
    log_pace::{LogPace, uptime},
    redis::Script,
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
    prefix: String,
    user_from: Option<UserFrom>,
}

type UserFrom = Arc<dyn Fn(&HashMap<String, Json>) -> Option<String> + Send + Sync>;

/// A session that the browser names, and its cookie.
pub(super) struct Legacy {
    id: i128,
    settings: TowerSessions,
    taken_over: bool,
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
    pub(super) fn of(&self, headers: &HeaderMap) -> Option<Legacy> {
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
            taken_over: false,
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
    /// session with a new token, and the old cookie is removed. The old record is only read, and only once: the next
    /// browser with the same cookie finds nothing. Values that no session of ours can have are left out, with a warning.
    ///
    /// The Redis user must be allowed to `GET` the old keys.
    #[must_use]
    pub fn import_tower_sessions(mut self, from: TowerSessions) -> Self {
        Arc::make_mut(&mut self.shared).import = Some(from);
        self
    }
}

impl Session {
    /// Takes over the session that the browser had, if it had one. The caller holds the I/O lock.
    pub(super) async fn import(&self) -> Result<(), Error> {
        let target = {
            let state = self.state();
            (!state.is_sent()).then(|| state.target())
        };
        let Some(Ok(job)) = target else {
            return Ok(());
        };
        let settings = match &*self.legacy() {
            Some(legacy) if job.held.is_empty() && !job.verified && !legacy.taken_over => {
                (legacy.id, legacy.settings.clone())
            }
            _ => return Ok(()),
        };
        let (id, settings) = settings;
        let imported = self.store().take_over(id, &settings).await;
        let imported = match imported {
            Err(error) if error.is_unavailable() && self.inner.shared.anonymous_on_failure => {
                return Ok(());
            }
            imported => imported?,
        };
        let Some((token, changes)) = imported else {
            *self.legacy() = None;
            return Ok(());
        };
        let codec = self.store().settings.codec.clone();
        let record = Record::new(token.id(), token.lineage(), codec);
        let now = unix_millis();
        self.state()
            .created(&job, token, record, None, &changes, now);
        if let Some(legacy) = self.legacy().as_mut() {
            legacy.taken_over = true;
        }
        Ok(())
    }

    /// Removes the cookie of a session that was taken over.
    pub(super) fn forget_imported(&self, headers: &mut HeaderMap) {
        let removal = match &*self.legacy() {
            Some(legacy) if legacy.taken_over => {
                set_cookie(&legacy.settings.cookie, &Cookie::Remove)
            }
            _ => return,
        };
        headers.append(header::SET_COOKIE, removal);
    }

    fn legacy(&self) -> std::sync::MutexGuard<'_, Option<Legacy>> {
        let legacy = &self.inner.legacy;
        legacy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionStore {
    /// A new session with the values of an old one, unless there is none or it was taken over before.
    async fn take_over(
        &self,
        id: i128,
        from: &TowerSessions,
    ) -> Result<Option<(super::token::Token, Changes)>, Error> {
        let name = URL_SAFE_NO_PAD.encode(id.to_le_bytes());
        let Some(bytes) = self.redis.get(&format!("{}{name}", from.prefix)).await? else {
            return Ok(None);
        };
        let Some(values) = parse(&bytes, id) else {
            if let Some(omitted) = NOT_OURS.admit(uptime()) {
                tracing::warn!(target: "tower_fred::session", omitted, "an old session is not one of tower-sessions");
            }
            return Ok(None);
        };
        let mut changes = Changes::default();
        for (key, value) in &values {
            match encode(&self.settings.codec, key, value) {
                Ok(value) => drop(changes.fields.insert(key.clone(), Some(value))),
                Err(error) => {
                    if let Some(omitted) = LEFT_OUT.admit(uptime()) {
                        tracing::warn!(target: "tower_fred::session", %error, omitted, "a value of an old session is left out");
                    }
                }
            }
        }
        let user = from
            .user_from
            .as_ref()
            .and_then(|user_from| user_from(&values));
        let token = match user {
            None => self.begin(&changes).await?,
            Some(user) => {
                let login = Login::of(user).check()?;
                changes.log_in(login.clone())?;
                self.begin_for(&login, &changes, Instant::now()).await?.0
            }
        };
        // Only now: had this been cut off before, the values would be lost.
        let digest = Sha256::digest(name.as_bytes());
        let note = URL_SAFE_NO_PAD.encode(&digest[..16]);
        let key = format!("{}:i:{{{note}}}", self.redis.namespace());
        let (word,): (String,) = self
            .redis
            .run(&IMPORT, &key, [millis(NOTED).into()])
            .await?;
        if word == "first" {
            return Ok(Some((token, changes)));
        }
        self.revoke_all_of(&[token.id()]).await?;
        Ok(None)
    }
}

/// The values of an old record that is the one asked for and has not ended: an array of the id, the values, and the end as
/// year, day of the year, hour, minute, second, nanosecond and the offset from UTC in hours, minutes and seconds.
fn parse(bytes: &[u8], id: i128) -> Option<HashMap<String, Json>> {
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

static NOT_OURS: LogPace = LogPace::new();
static LEFT_OUT: LogPace = LogPace::new();
static IMPORT: Script = Script::new(include_str!("import.lua"));

/// The day before 1 January 1970, counted from the year 1.
const EPOCH: i64 = 719_163;
/// How long it is known that an old session was taken over. An old record that lives longer could be taken over again.
const NOTED: Duration = Duration::from_secs(400 * 24 * 60 * 60);

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
