//! Waiting for the end of a session.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::time::sleep;

use super::session::Session;
use crate::session::store::{watcher::watch_for_end, watches::Watch};

impl Session {
    /// Waits until the session ends: for a WebSocket or a stream, to end with it.
    ///
    /// It ends by a logout, a revocation and a timeout, and by a login or rotation elsewhere, which make it another's; a
    /// token that was only renewed does not end it. Where there is no session, it has ended already. Waiting is no use of
    /// the session: one that nothing else uses ends by its [idle timeout](crate::session::SessionLayer::idle_timeout).
    ///
    /// It is told at once and costs next to nothing: the process has one more connection to Redis while anybody waits, on
    /// which every end is published. That is only a hint. What counts is the session's record, which is looked at when
    /// there was a hint, when the session's time is over, and [now and then](crate::session::SessionStore::check_ended_every) in any case,
    /// those of many waiting sessions by one command. While Redis does not answer, nobody knows of an end, and this waits.
    /// Over an application's own client of a cluster, no hint is heard.
    ///
    /// A revocation that found the user's list [evicted](crate::session#eviction) is told when a use of the session notices
    /// it.
    ///
    /// ```no_run
    /// # use tower_fred::{Error, Session};
    /// async fn socket(session: Session, mut messages: tokio::sync::mpsc::Receiver<String>) -> Result<(), Error> {
    ///     loop {
    ///         tokio::select! {
    ///             () = session.ended() => return Ok(()),
    ///             message = messages.recv() => match message {
    ///                 Some(_message) => session.incr("messages", 1).await?,
    ///                 None => return Ok(()),
    ///             },
    ///         };
    ///     }
    /// }
    /// ```
    ///
    /// # Cancellation
    ///
    /// It may be dropped and called again at any time, as `select!` in a loop does: only the first call of a session asks
    /// Redis.
    pub async fn ended(&self) {
        self.mark_used();
        let mut pause = FIRST_PAUSE;
        loop {
            if let Err(error) = self.load().await {
                tracing::debug!(target: "tower_fred::session", %error, "cannot tell whether a session has ended");
                sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
                continue;
            }
            let Some(wait) = self.wait() else { return };
            wait.ended().await;
            // This request itself may have put another token in the place of the one that was waited for.
            if self
                .state()
                .holder()
                .is_none_or(|holder| wait.is_for(holder))
            {
                return;
            }
        }
    }

    /// Who waits for the end of this session on behalf of all its clones; nobody where there is no session.
    fn wait(&self) -> Option<Arc<Watch>> {
        let holder = self.state().holder()?.clone();
        let mut slot = self
            .inner
            .wait
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = slot.as_ref().filter(|wait| wait.is_for(&holder)) {
            return Some(Arc::clone(wait));
        }
        let wait = watch_for_end(self.store(), holder);
        *slot = Some(Arc::clone(&wait));
        Some(wait)
    }
}

/// After an attempt to read the session that failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);
