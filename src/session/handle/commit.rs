//! Writes the buffered changes of a session to its record, and ends sessions that were logged out.

use super::session::Session;
use crate::{
    error::{Error, Kind},
    session::{
        callbacks::security_event::Suspicion,
        credential::{holder::Holder, token::Token},
        record::{
            changes::{Changes, Renewal},
            login::Login,
            operation::{Done, Ended, Op, Outcome},
            session_record::Record,
        },
        state::session_state::{Job, Sending, too_late},
        store::records::{full, unix_millis},
    },
};

impl Session {
    /// Ends what was logged out, then writes the changes. The caller holds the I/O lock.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        self.end().await?;
        self.write().await?;
        // A clone may have logged out during the write.
        self.end().await
    }

    async fn end(&self) -> Result<(), Error> {
        #[cfg(feature = "tower-sessions-import")]
        self.end_imported().await?;
        let ending = self.state().ending();
        if ending.is_empty() {
            return Ok(());
        }
        let mut outcomes = Vec::with_capacity(ending.len());
        for holder in &ending {
            let ended = self.store().end(holder).await?;
            match ended {
                Ended::Done(_) | Ended::Gone => {}
                Ended::Stale => self.report(Suspicion::Stale, &holder.token),
                Ended::Unknown => self.report(Suspicion::Mismatch, &holder.token),
            }
            outcomes.push(ended);
        }
        self.state().ended(&outcomes);
        Ok(())
    }

    async fn write(&self) -> Result<(), Error> {
        #[cfg(feature = "tower-sessions-import")]
        if !self.state().changes.is_empty() {
            self.import().await?;
        }
        // Only a session that a read has proved to be the caller's may be added to the user's list.
        let peppered = !self.store().settings.peppers.are_none();
        let unread = self.state().begin_login(peppered);
        if let Some(job) = unread {
            self.find(&job).await?;
        }
        let Some((job, changes)) = self.state().begin_write()? else {
            return Ok(());
        };
        let mut refused = job.verified;
        for holder in &job.holders {
            let next = changes.next(&holder.token)?;
            match self.commit_to(holder, &changes, next.as_ref()).await? {
                Outcome::Done(done) => {
                    self.replaced_user(&done, &holder.token).await;
                    let (token, now) = (&holder.token, unix_millis());
                    self.state()
                        .committed(&job, token, next, done, &changes, now);
                    return Ok(());
                }
                outcome => refused |= self.refused(&outcome, &holder.token)?,
            }
        }
        self.write_elsewhere(&job, &changes, refused).await
    }

    async fn commit_to(
        &self,
        holder: &Holder,
        changes: &Changes,
        next: Option<&Token>,
    ) -> Result<Outcome, Error> {
        let (store, id) = (self.store(), holder.token.id());
        let ops = changes.ops(&store.settings.codec, &id)?;
        let Some(login) = changes.login() else {
            return store.commit(holder, &changes.renewal, next, ops).await;
        };
        let end = self.state().record().map_or(0, Record::end);
        let life = store.life(login, end);
        let enrolled = store.enrol(login, &id, life, self.began(login)).await;
        let login = Login {
            listed_at: self.drop_if_refused(enrolled)?,
            ..login.clone()
        };
        let renewal = Renewal::Login(login.clone());
        let outcome = store.commit(holder, &renewal, next, ops).await;
        match outcome {
            Ok(Outcome::Done(_)) => self.state().reservation = store.reservation(&login, &id, life),
            Ok(Outcome::Gone) => store.unlist(&login.user, &[id]).await,
            _ => {}
        }
        outcome
    }

    /// Handles changes when none of the tokens opens a session: begins a new one, or drops the changes.
    async fn write_elsewhere(
        &self,
        job: &Job,
        changes: &Changes,
        refused: bool,
    ) -> Result<(), Error> {
        // A login does not write to the session that ended: it begins another one.
        if refused && changes.login().is_none() {
            self.state().interrupted(job);
            return Err(interrupted());
        }
        if !changes.need_a_session() {
            self.state().unneeded(job, changes);
            return Ok(());
        }
        if self.state().is_sent() {
            return Err(too_late());
        }
        let store = self.store();
        let (token, remembered) = match changes.login() {
            None => (store.begin(changes).await?, None),
            Some(login) => {
                let begun = store.begin_for(login, changes, self.began(login)).await;
                let begun = self.drop_if_refused(begun)?;
                self.state().reservation = begun.reservation;
                (begun.token, begun.remembered)
            }
        };
        let codec = store.settings.codec.clone();
        let record = Record::new(token.id(), token.lineage(), codec);
        let now = unix_millis();
        self.state()
            .created(job, token, record, remembered, changes, now);
        Ok(())
    }

    /// One guarded write besides the buffered changes. Returns its outcome, or nothing if there is no session. The caller
    /// holds the I/O lock and has flushed.
    pub(crate) async fn apply<'a>(
        &self,
        ops: impl Fn(&Holder) -> Result<Vec<Op<'a>>, Error>,
    ) -> Result<Option<Outcome>, Error> {
        let job = self.state().target()?;
        let mut refused = job.verified;
        for holder in &job.holders {
            let store = self.store();
            match store
                .commit(holder, &Renewal::Keep, None, ops(holder)?)
                .await?
            {
                Outcome::Done(done) => {
                    self.state().wrote(&job, holder, &done);
                    return Ok(Some(Outcome::Done(done)));
                }
                outcome @ (Outcome::Conflict(_) | Outcome::NotANumber) => {
                    return Ok(Some(outcome));
                }
                outcome => refused |= self.refused(&outcome, &holder.token)?,
            }
        }
        if refused {
            self.state().interrupted(&job);
            return Err(interrupted());
        }
        Ok(None)
    }

    /// Whether the session refused a write because the token had been replaced; an error if it refused a write of its
    /// holder.
    fn refused(&self, outcome: &Outcome, token: &Token) -> Result<bool, Error> {
        match outcome {
            Outcome::Stale => {
                self.report(Suspicion::Stale, token);
                self.state().note_stale();
                return Ok(true);
            }
            Outcome::Unknown => self.report(Suspicion::Mismatch, token),
            Outcome::Gone => self.report(Suspicion::Unknown, token),
            Outcome::Full => {
                self.state().changes = Changes::default();
                return Err(full());
            }
            Outcome::Done(_) | Outcome::Conflict(_) | Outcome::NotANumber => {}
        }
        Ok(false)
    }

    /// Drops all changes if a login was refused: another attempt would be refused too.
    fn drop_if_refused<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.as_ref().is_err_and(Error::is_forbidden) {
            self.state().changes = Changes::default();
        }
        result
    }

    /// Removes a session that has another user now from the list of the user before.
    async fn replaced_user(&self, done: &Done, token: &Token) {
        if let Some(user) = &done.user_before {
            self.store().unlist(user, &[token.id()]).await;
        }
    }

    /// Writes what has to be written before the response leaves; drops the changes unless `kept`. Returns what the
    /// response carries.
    pub(crate) async fn conclude(&self, kept: bool) -> (Result<(), Error>, Sending) {
        // Also when there is nothing to write: a clone may be changing the cookie.
        let _io = self.inner.io.lock().await;
        if kept {
            self.state().renew_if_due();
        } else {
            self.state().changes = Changes::default();
        }
        let upkeep = self.state().changes.are_upkeep();
        let mut result = self.flush().await;
        if upkeep {
            if let Err(error) = &result {
                // The old token is still valid; the next request tries again.
                tracing::debug!(target: "tower_fred::session", %error, "token not renewed");
                self.state().changes = Changes::default();
                result = Ok(());
            }
        }
        let mut state = self.state();
        if let Some(reservation) = state.reservation.take() {
            // Not before this point: a request that is dropped earlier must not keep the place, as no browser got the
            // token.
            let store = self.store().clone();
            tokio::spawn(async move { store.confirm(&reservation).await });
        }
        let sending = state.send();
        #[cfg(feature = "tower-sessions-import")]
        let sending = Sending {
            logout_failed: sending.logout_failed || self.imported_goes_on(),
            ..sending
        };
        (result, sending)
    }
}

fn interrupted() -> Error {
    Error::new(
        Kind::Interrupted,
        "the session ended while the request ran, or has a new token",
    )
}
