//! Between a session and its record: one load, one write, one end.

use super::{
    record::Found,
    session::Session,
    state::{Job, Sending, too_late},
    store::Outcome,
};
use crate::error::{Error, Kind};

impl Session {
    /// Loads the record unless it is known.
    pub(super) async fn load(&self) -> Result<(), Error> {
        let _io = self.inner.io.lock().await;
        let Some(job) = self.state().begin_load() else {
            return Ok(());
        };
        match self.find(&job).await {
            Err(error) if self.inner.anonymous_on_failure && error.is_unavailable() => {
                // The outage itself has a warning, once.
                tracing::debug!(target: "tower_fred::session", %error, "going on with an empty session");
                self.state().unreachable(&job);
                Ok(())
            }
            result => result,
        }
    }

    async fn find(&self, job: &Job) -> Result<(), Error> {
        let mut stale = false;
        for token in &job.tokens {
            match self.inner.store.find(token).await? {
                Found::Live(record, due) => {
                    self.state().loaded(job, token, record, due);
                    return Ok(());
                }
                Found::Stale => stale = true,
                Found::Unknown => {}
            }
        }
        tracing::debug!(target: "tower_fred::session", stale, "no session for the cookie");
        self.state().not_found(job, stale);
        Ok(())
    }

    /// Ends what was logged out, then writes the changes. The caller holds the I/O lock.
    pub(super) async fn flush(&self) -> Result<(), Error> {
        self.end().await?;
        self.write().await?;
        // A clone may have logged out while that was on its way.
        self.end().await
    }

    async fn end(&self) -> Result<(), Error> {
        let tokens = self.state().ending();
        if tokens.is_empty() {
            return Ok(());
        }
        let mut outcomes = Vec::with_capacity(tokens.len());
        for token in &tokens {
            outcomes.push(self.inner.store.end(token).await?);
        }
        tracing::debug!(target: "tower_fred::session", ?outcomes, "logout");
        self.state().ended(&outcomes);
        Ok(())
    }

    async fn write(&self) -> Result<(), Error> {
        let Some((job, changes)) = self.state().begin_write()? else {
            return Ok(());
        };
        let mut refused = job.verified;
        for token in &job.tokens {
            let next = changes.next(token)?;
            let store = &self.inner.store;
            match store.commit(token, &changes, next.as_ref()).await? {
                Outcome::Done => {
                    self.state().committed(&job, token, next, &changes);
                    return Ok(());
                }
                Outcome::Stale => refused = true,
                Outcome::Gone | Outcome::Unknown => {}
            }
        }
        // A login is no write of the session that ended: it begins another.
        if refused && changes.login().is_none() {
            self.state().interrupted(&job);
            return Err(Error::new(
                Kind::Interrupted,
                "the session ended while the request ran, or has a new token",
            ));
        }
        if !changes.need_a_session() {
            self.state().unneeded(&job, &changes);
            return Ok(());
        }
        if self.state().is_sent() {
            return Err(too_late());
        }
        let token = self.inner.store.begin(&changes).await?;
        self.state().created(&job, token, &changes);
        Ok(())
    }

    /// Writes what the response has to wait for; the values only if they are `kept`. Says what leaves with it.
    pub(super) async fn conclude(&self, kept: bool) -> (Result<(), Error>, Sending) {
        // Also when there is nothing to write: a clone may be about to change the cookie.
        let _io = self.inner.io.lock().await;
        if !kept {
            self.state().changes = super::changes::Changes::default();
        }
        let result = self.flush().await;
        (result, self.state().send())
    }
}
