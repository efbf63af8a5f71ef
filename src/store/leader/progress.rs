//! The signs of life that a leader gives while it makes an entry.

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

/// Notes signs of life of one leader, for those who wait in this process and in others. The default is of a leader for
/// whom nobody waits, and notes nothing.
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

    /// Runs `future` and has it polled four times a second at least. Each poll is a sign of life: a task that runs gives
    /// them however long it takes, and one that nobody polls gives none.
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
