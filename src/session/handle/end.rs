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
    /// It ends by a logout, a revocation or a timeout, and by a login or rotation in another request, which needs the
    /// new token. The renewal of a token does not end it. Without a session, this returns at once. Waiting does not
    /// count as use of the session: a session without any other use ends by its [idle
    /// timeout](crate::session::SessionLayer::idle_timeout).
    ///
    /// The end is noticed at once, at little cost: while at least one session waits, the process has one more connection
    /// to Redis, which is subscribed to a channel where each end is published. A message is only a hint: it makes the
    /// layer check the session's record. The record is also checked when the session's time is over, and [at an
    /// interval](crate::session::SessionStore::check_ended_every), many waiting sessions with one command. While Redis
    /// does not answer, this waits. With an application's own client of a cluster, there is no subscription.
    ///
    /// If a revocation found the user's list [evicted](crate::session#eviction), the end is noticed when the session is
    /// used.
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
            let Some(watch) = self.watch() else { return };
            watch.ended().await;
            // This request itself may have replaced the token whose end was waited for.
            if self
                .state()
                .holder()
                .is_none_or(|holder| watch.is_for(holder))
            {
                return;
            }
        }
    }

    /// The watch that all clones of this session share; none without a session.
    fn watch(&self) -> Option<Arc<Watch>> {
        let holder = self.state().holder()?.clone();
        let mut slot = self
            .inner
            .watch
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = slot.as_ref().filter(|watch| watch.is_for(&holder)) {
            return Some(Arc::clone(watch));
        }
        let watch = watch_for_end(self.store(), holder);
        *slot = Some(Arc::clone(&watch));
        Some(watch)
    }
}

/// The pause after a failed read of the session; it doubles up to the last one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);
