//! Taking over the session of tower-sessions that a browser still names.

use std::sync::{MutexGuard, PoisonError};

use http::{HeaderMap, header};

use super::session::Session;
use crate::{
    error::Error,
    session::{
        cookie::{change::CookieChange, fields::set_cookie},
        import::{
            legacy::{Legacy, Stage},
            migration::Migration,
        },
        record::session_record::Record,
        store::records::unix_millis,
    },
};

impl Session {
    /// Takes over the old session that the browser names, if any. The caller holds the I/O lock.
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
        if !job.holders.is_empty() || job.verified {
            return Ok(());
        }
        let (id, settings) = named;
        let moved = match self.store().take_over(id, &settings).await {
            Err(error) if error.is_unavailable() && self.inner.config.anonymous_on_failure => {
                return Ok(());
            }
            moved => moved?,
        };
        let codec = self.store().settings.codec.clone();
        match moved {
            Migration::Here(begun, changes) => {
                let token = begun.token;
                let record = Record::new(token.id(), token.lineage(), codec);
                let now = unix_millis();
                let mut state = self.state();
                state.reservation = begun.reservation;
                state.created(&job, token, record, begun.remembered, &changes, now);
                drop(state);
                self.leave(Stage::Over);
            }
            // The response of the other request carries the cookie.
            Migration::Elsewhere(holder) => {
                self.state().adopted(&job, holder);
                *self.legacy() = None;
            }
            Migration::Refused => self.leave(Stage::Over),
            Migration::Nothing => *self.legacy() = None,
        }
        Ok(())
    }

    /// Notes that the old session has to be ended too.
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

    /// Ends the old session if it was logged out: it can no longer be taken over, and a session that another request has
    /// just made from it ends too. The caller holds the I/O lock.
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
                set_cookie(&legacy.settings.cookie, &CookieChange::Remove)
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

    fn legacy(&self) -> MutexGuard<'_, Option<Legacy>> {
        let legacy = &self.inner.legacy;
        legacy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
