//! Signs of life: whether the one who makes an entry makes progress.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::log_pace::uptime;
use crate::store::leader::lease::Hold;

/// When a leader last gave a sign of life, in milliseconds since this process began.
#[derive(Debug)]
pub(crate) struct Pulse(AtomicU64);

impl Pulse {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(now_ms()))
    }

    fn note(&self, now_ms: u64) {
        self.0.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// How much longer a leader may be without a sign of life; zero when it was so for too long.
    pub(crate) fn patience(&self) -> Duration {
        let last_ms = Duration::from_millis(self.0.load(Ordering::Relaxed));
        (last_ms + SILENCE).saturating_sub(uptime())
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.patience().is_zero()
    }
}

/// Notes signs of life of one leader, for those who wait in this process and in others. The default is of a leader for
/// whom nobody waits, and notes nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    pub(crate) pulse: Option<Arc<Pulse>>,
    pub(crate) hold: Option<Arc<Hold>>,
}

impl Watch {
    pub(crate) fn note(&self) {
        if self.is_idle() {
            return;
        }
        let now_ms = now_ms();
        if let Some(pulse) = &self.pulse {
            pulse.note(now_ms);
        }
        if let Some(hold) = &self.hold {
            hold.note(now_ms);
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
        self.pulse.is_none() && self.hold.is_none()
    }
}

pub(crate) fn now_ms() -> u64 {
    u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX)
}

/// How long others wait for a leader that gives no sign of life.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);
const PERIOD: Duration = Duration::from_millis(250);
