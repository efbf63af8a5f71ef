//! Heartbeats: whether the leader of a flight makes progress.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::log_pace::uptime;

/// When a leader's last heartbeat was, in milliseconds since this process began.
#[derive(Debug)]
pub(crate) struct Heartbeat(AtomicU64);

impl Heartbeat {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(now_ms()))
    }

    /// Notes a heartbeat.
    pub(crate) fn note(&self, now_ms: u64) {
        self.0.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// How much longer others wait for the next heartbeat; zero when the last one is too long ago.
    pub(crate) fn patience(&self) -> Duration {
        let last_ms = Duration::from_millis(self.0.load(Ordering::Relaxed));
        (last_ms + SILENCE).saturating_sub(uptime())
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.patience().is_zero()
    }
}

/// Milliseconds since this process began.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX)
}

/// How long others wait for a leader without a heartbeat.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);
