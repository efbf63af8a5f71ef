//! The progress that a leader makes with an entry, reported to all who wait for it.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::keepalive::KeepAlive;
use crate::store::flight::heartbeat::{Heartbeat, now_ms};

/// Reports the progress of one leader: by heartbeats in this process, and to others by keeping its lease alive. The
/// default is for a leader that nobody waits for, and reports nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) heartbeat: Option<Arc<Heartbeat>>,
    pub(crate) keepalive: Option<Arc<KeepAlive>>,
}

impl Progress {
    pub(crate) fn note(&self) {
        if self.is_idle() {
            return;
        }
        let now_ms = now_ms();
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.note(now_ms);
        }
        if let Some(keepalive) = &self.keepalive {
            keepalive.note(now_ms);
        }
    }

    /// Runs `future` and has it polled at least four times a second. Each poll is progress: a future that is polled makes
    /// progress however long it takes, and one that nobody polls makes none.
    pub(crate) async fn during<F: Future>(self, future: F) -> F::Output {
        if self.is_idle() {
            return future.await;
        }
        let mut future = pin!(future);
        let mut timer = pin!(sleep(PERIOD));
        poll_fn(|cx| {
            self.note();
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            while timer.as_mut().poll(cx).is_ready() {
                timer.as_mut().reset(Instant::now() + PERIOD);
            }
            Poll::Pending
        })
        .await
    }

    fn is_idle(&self) -> bool {
        self.heartbeat.is_none() && self.keepalive.is_none()
    }
}

const PERIOD: Duration = Duration::from_millis(250);
