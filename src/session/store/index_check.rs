//! A use of a session checks the index of its user, at most once per touch interval.
//!
//! Redis may have evicted the index: then the session is added again. If all sessions of the user were revoked after its
//! login was added, the session ends.

use super::{records::unix_millis, session_store::SessionStore, user_index::CLOCK_SKEW};
use crate::{
    error::{Error, Kind},
    redis::{Budget, Script, Value},
    session::{
        credential::{holder::Holder, token::Token},
        record::{
            index_entry::{IndexEntry, Reservation},
            operation::Done,
            session_record::Found,
        },
    },
};

impl SessionStore {
    /// Checks the index before a read returns the session, if that is due.
    ///
    /// If the index cannot be reached (in a cluster it is on another server), the session is returned; the next use
    /// checks again. If the time is over before the check is, the session is returned too, and the check goes on: it ends
    /// a session that was revoked.
    pub(crate) async fn check_index(
        &self,
        holder: &Holder,
        mut found: Found,
        budget: Budget,
    ) -> Found {
        let Found::Live(record, due) = &mut found else {
            return found;
        };
        let entry = if due.index_check {
            record.index_entry()
        } else {
            None
        };
        let Some(entry) = entry else {
            return found;
        };
        let (store, id, asked) = (self.clone(), holder.token.id(), entry.clone());
        let checking = tokio::spawn(async move { store.is_still_valid(&id, &asked).await });
        let ended = |error| Error::new(Kind::Unavailable, "the runtime ended").caused_by(error);
        let checked = budget.limit(async { checking.await.map_err(ended)? }).await;
        match checked {
            Ok(true) => {
                due.touch = false;
                let holder = Holder {
                    user: Some(entry.user.into()),
                    ..holder.clone()
                };
                let store = self.clone();
                tokio::spawn(async move { store.note_use(&holder, true).await });
                found
            }
            Ok(false) => Found::Unknown,
            Err(error) => {
                tracing::debug!(target: "tower_fred::session", %error, "the user's list was not asked");
                found
            }
        }
    }

    /// Checks the index after a write that found it due; the caller does not wait.
    pub(crate) fn check_index_later(&self, holder: &Holder, next: Option<&Token>, done: &Done) {
        let Some(entry) = done.index_entry.clone() else {
            return;
        };
        let holder = Holder {
            token: next
                .filter(|_| done.replaced)
                .unwrap_or(&holder.token)
                .clone(),
            lineage: done.lineage.clone(),
            user: holder.user.clone(),
        };
        let store = self.clone();
        tokio::spawn(async move {
            match store.is_still_valid(&holder.token.id(), &entry).await {
                Ok(true) => store.note_use(&holder, true).await,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(target: "tower_fred::session", %error, "the user's list was not asked");
                }
            }
        });
    }

    /// Makes the reservation of a login permanent; called when the response with its token leaves. A failure is
    /// harmless: a use of the session adds it again.
    pub(crate) async fn confirm(&self, reservation: &Reservation) {
        let (user, id, listed_at) = (&reservation.user, &reservation.id, reservation.listed_at);
        match self.relist(user, id, reservation.life, listed_at).await {
            Ok(true) => {}
            Ok(false) => self.end_revoked(id, user, listed_at).await,
            Err(error) => {
                tracing::debug!(target: "tower_fred::session", %error, "a login is not confirmed");
            }
        }
    }

    /// Whether the session is still valid; ends it if it is not.
    async fn is_still_valid(&self, id: &str, entry: &IndexEntry) -> Result<bool, Error> {
        let life = entry.end.saturating_sub(unix_millis()).max(0);
        let life = life.saturating_add(CLOCK_SKEW);
        let (user, listed_at) = (&entry.user, entry.listed_at);
        let goes_on = self.relist(user, id, life, listed_at).await?;
        if !goes_on {
            self.end_revoked(id, user, listed_at).await;
        }
        Ok(goes_on)
    }

    async fn relist(&self, user: &str, id: &str, life: i64, listed_at: i64) -> Result<bool, Error> {
        let args: [Value; 3] = [id.into(), life.into(), listed_at.into()];
        let (word,): (String,) = self.redis.run(&RELIST, &self.index(user), args).await?;
        Ok(word != "revoked")
    }

    /// A failure is harmless: every later check finds the session revoked.
    async fn end_revoked(&self, id: &str, user: &str, listed_at: i64) {
        let ended = self.revoke_one(id, Some(user), Some(listed_at)).await;
        if let Err(error) = ended {
            tracing::debug!(target: "tower_fred::session", %error, "a revoked session is not deleted yet");
        }
    }
}

static RELIST: Script = Script::new(include_str!("lua/relist.lua"));
