//! The Redis hash of a session: the names of its fields, whether a token opens it, and what is due.

use std::collections::HashMap;

use bytes::Bytes;

use super::{
    bounds::MARK,
    session_record::{Due, Field, Found, Record, millis, not_ours, number},
    settings::{MAX_TOUCH_INTERVAL, Settings},
};
use crate::{
    error::Error,
    session::credential::{holder::Holder, token::HASH},
};

/// The fields of a session's hash, as Redis returned them.
pub(crate) struct StoredHash {
    pub(crate) id: String,
    pub(crate) fields: HashMap<String, Bytes>,
}

impl StoredHash {
    /// Judges a record by the caller's secret, or the lineage that it proved to hold before, and the time (Unix
    /// milliseconds).
    pub(crate) fn judge(
        self,
        holder: &Holder,
        now: i64,
        settings: &Settings,
    ) -> Result<Found, Error> {
        if self.fields.is_empty() {
            return Ok(Found::Unknown);
        }
        let stored = self.fields.get(SECRET_HASH);
        let stored = stored.filter(|stored| stored.len() == HASH);
        let (Some(stored), Some(end)) = (stored, self.millis(END)) else {
            return Err(not_ours());
        };
        if end <= now {
            return Ok(Found::Unknown);
        }
        let hashes = settings.peppers.hashes(&holder.token);
        let current = hashes.contain(stored);
        let was_ours = |until| {
            let previous = self.fields.get(PREVIOUS_HASH);
            self.millis(until).is_some_and(|end| now < end)
                && previous.is_some_and(|previous| hashes.contain(previous))
        };
        let previous = !current && was_ours(GRACE_END);
        let lineage = &holder.lineage;
        let kin = !lineage.is_empty() && self.fields.get(LINEAGE).is_some_and(|it| it == lineage);
        if !(current || previous || kin) {
            let stale = was_ours(PREVIOUS_END);
            return Ok(if stale { Found::Stale } else { Found::Mismatch });
        }
        let known_by = match (current, previous) {
            (true, _) => Some((SECRET_HASH, TAG)),
            (false, true) => Some((PREVIOUS_HASH, PREVIOUS_TAG)),
            (false, false) => None,
        };
        if !self.is_users(holder, known_by, settings) {
            return Ok(Found::Mismatch);
        }
        let due = self.due(current, previous, now, settings);
        Ok(Found::Live(self.record(end, settings), due))
    }

    /// Whether the session belongs to the user in its record; without a pepper, always. `known_by` names the fields with
    /// the hash of the caller's token and with its tag.
    fn is_users(
        &self,
        holder: &Holder,
        known_by: Option<(&str, &str)>,
        settings: &Settings,
    ) -> bool {
        let Some(user) = self.fields.get(USER) else {
            return true;
        };
        let peppers = &settings.peppers;
        if peppers.are_none() {
            return true;
        }
        let Some((hash, tag)) = known_by else {
            // All tokens of a lineage have the same user. For a token that is no longer stored there is no tag.
            return holder.user.as_ref().is_some_and(|it| it.as_bytes() == user);
        };
        let hash = self.fields.get(hash);
        hash.is_some_and(|hash| peppers.hashes(&holder.token).is_unbound(hash))
            || peppers.have_tagged(&holder.token, user, self.fields.get(tag))
    }

    fn due(&self, current: bool, previous: bool, now: i64, settings: &Settings) -> Due {
        let idle = self.millis(IDLE).unwrap_or_else(|| millis(settings.idle));
        let interval = (idle / 10).clamp(1, millis(MAX_TOUCH_INTERVAL));
        let unused = now.saturating_sub(self.millis(SEEN).unwrap_or(0));
        let handed_over = self.fields.contains_key(HANDED_OVER);
        let renewal = settings.renewal.is_some_and(|renewal| {
            let age = now.saturating_sub(self.millis(RENEWED).unwrap_or(0));
            current && age >= millis(renewal)
        });
        // NOTE: commit.lua decides by the same rule.
        let lost = previous && handed_over && {
            let end = self.millis(GRACE_END).unwrap_or(0);
            now >= end.saturating_sub(millis(settings.grace) / 2)
        };
        // NOTE: commit.lua decides by the same rule. A time in the future must not prevent the check.
        let asked = now.saturating_sub(self.millis(INDEX_CHECKED).unwrap_or(0));
        let index_check = self.fields.contains_key(USER) && asked.saturating_abs() >= interval;
        Due {
            touch: unused >= interval || (current && handed_over) || index_check,
            renewal: renewal || lost,
            index_check,
        }
    }

    fn record(mut self, end: i64, settings: &Settings) -> Record {
        let authenticated = self.millis(AUTHENTICATED);
        let listed_at = self.millis(LISTED_AT).or(authenticated).unwrap_or(0);
        let user = self.fields.remove(USER);
        let lineage = self.fields.remove(LINEAGE).unwrap_or_default();
        let fields = self.fields.into_iter();
        let fields = fields.filter(|(key, _)| !key.starts_with(MARK));
        Record {
            id: self.id,
            user: user.map(|user| String::from_utf8_lossy(&user).into_owned()),
            authenticated,
            listed_at,
            end,
            lineage,
            fields: fields
                .map(|(key, value)| (key, Field::Stored(value)))
                .collect(),
            codec: settings.codec.clone(),
        }
    }

    fn millis(&self, field: &str) -> Option<i64> {
        number(self.fields.get(field)?)
    }
}

// NOTE: the scripts use these names too.
pub(crate) const SECRET_HASH: &str = "!h";
pub(crate) const PREVIOUS_HASH: &str = "!p";
/// Until when the previous secret is still recognized.
pub(crate) const PREVIOUS_END: &str = "!g";
/// Until when the previous secret is accepted.
pub(crate) const GRACE_END: &str = "!k";
/// Present until the browser has sent the new token after a renewal.
pub(crate) const HANDED_OVER: &str = "!o";
pub(crate) const LINEAGE: &str = "!v";
pub(crate) const RENEWED: &str = "!n";
pub(crate) const SEEN: &str = "!s";
pub(crate) const END: &str = "!x";
pub(crate) const IDLE: &str = "!i";
pub(crate) const USER: &str = "!u";
pub(crate) const AUTHENTICATED: &str = "!a";
/// When the login was listed, by the clock of the list's server.
pub(crate) const LISTED_AT: &str = "!r";
/// When a use of the session last checked the index of its user.
pub(crate) const INDEX_CHECKED: &str = "!e";
/// The tag that binds the user to the secret, when there is a pepper.
pub(crate) const TAG: &str = "!t";
/// The same for the previous secret.
pub(crate) const PREVIOUS_TAG: &str = "!q";

#[cfg(test)]
mod tests;
