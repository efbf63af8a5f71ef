//! Reading a session: at most one load in each request.

use std::time::Instant;

use super::session::Session;
use crate::{
    error::Error,
    session::{
        callbacks::security_event::Suspicion,
        credential::holder::Holder,
        record::session_record::{Due, Found, Record},
        state::session_state::Job,
    },
};

impl Session {
    /// Loads the record unless it is known.
    pub(crate) async fn load(&self) -> Result<(), Error> {
        let _io = self.inner.io.lock().await;
        self.load_locked().await
    }

    /// As `load`, for a caller that holds the I/O lock.
    pub(crate) async fn load_locked(&self) -> Result<(), Error> {
        #[cfg(feature = "tower-sessions-import")]
        self.import().await?;
        let job = self.state().begin_load();
        self.load_by(job).await
    }

    /// The user, for a layer whose read does not change the handler's response: the response is not marked as personal
    /// and gets no `Vary: Cookie`.
    #[cfg(feature = "rate-limit")]
    pub(crate) async fn user_unmarked(&self) -> Result<Option<String>, Error> {
        let _io = self.inner.io.lock().await;
        if let Some(login) = self.state().changes.login() {
            return Ok(Some(login.user.clone()));
        }
        #[cfg(feature = "tower-sessions-import")]
        self.import().await?;
        let job = self.state().unread();
        self.load_by(job).await?;
        let state = self.state();
        let user = state.record().and_then(Record::user);
        Ok(user.map(str::to_owned))
    }

    async fn load_by(&self, job: Option<Job>) -> Result<(), Error> {
        let Some(job) = job else {
            self.use_after_response();
            return Ok(());
        };
        let found = self.find(&job).await;
        self.use_after_response();
        match found {
            Err(error) if self.inner.config.anonymous_on_failure && error.is_unavailable() => {
                // The outage itself was logged as a warning, once.
                tracing::debug!(target: "tower_fred::session", %error, "going on with an empty session");
                self.state().unreachable(&job);
                Ok(())
            }
            result => result,
        }
    }

    /// Looks up the tokens of `job`, one after the other, until one opens a session; within one deadline for all.
    pub(crate) async fn find(&self, job: &Job) -> Result<(), Error> {
        let mut stale = false;
        let budget = self.store().redis.budget();
        for holder in &job.holders {
            match self.store().find_within(holder, budget).await? {
                Found::Live(record, due) => {
                    self.loaded(job, holder, record, due);
                    return Ok(());
                }
                Found::Stale => {
                    self.report(Suspicion::Stale, &holder.token);
                    stale = true;
                }
                Found::Mismatch => self.report(Suspicion::Mismatch, &holder.token),
                Found::Unknown => self.report(Suspicion::Unknown, &holder.token),
            }
        }
        self.state().not_found(job, stale);
        Ok(())
    }

    fn loaded(&self, job: &Job, holder: &Holder, record: Record, due: Due) {
        let mut state = self.state();
        // A use that is due is noted when the response leaves, or at once if it has left.
        let is_noted = !due.touch || !state.is_sent();
        state.used_at = is_noted.then(Instant::now);
        state.loaded(job, &holder.token, record, due);
    }

    /// Notes a use after the response has left, at most once per touch interval, in a task that the caller does not wait
    /// for.
    pub(crate) fn use_after_response(&self) {
        let store = self.store();
        let interval = store.settings.touch_interval();
        let Some(holder) = self.state().use_after_response(Instant::now(), interval) else {
            return;
        };
        let store = store.clone();
        tokio::spawn(async move {
            match store.find(&holder).await {
                Ok(Found::Live(_, due)) if due.touch => store.touch(&holder).await,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(target: "tower_fred::session", %error, "session not extended");
                }
            }
        });
    }
}
