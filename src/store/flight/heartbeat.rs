//! Signs of life: whether the one who makes an entry makes progress.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::log_pace::uptime;

/// When a leader last gave a sign of life, in milliseconds since this process began.
#[derive(Debug)]
pub(crate) struct Heartbeat(AtomicU64);

impl Heartbeat {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(now_ms()))
    }

    pub(crate) fn note(&self, now_ms: u64) {
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

pub(crate) fn now_ms() -> u64 {
    u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX)
}

/// How long others wait for a leader that gives no sign of life.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);
