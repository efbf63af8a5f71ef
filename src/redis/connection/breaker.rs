//! The circuit breaker of one server: after several commands without an answer, further commands fail at once.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{health::OverallHealth, stall::Stalls};
use crate::{
    error::Error,
    log_pace::{LogPace, uptime},
};

/// Opens after several commands in a row got no answer; closes with the first answer to a probe.
#[derive(Debug)]
pub(crate) struct Breaker {
    unanswered: AtomicU32,
    open: AtomicBool,
    health: Arc<OverallHealth>,
    stalls: Arc<Stalls>,
    /// When it closed last.
    closed_at: Mutex<Option<Instant>>,
}

impl Breaker {
    pub(crate) fn new(health: &Arc<OverallHealth>) -> Self {
        health.add_server();
        let stalls = health.stalls();
        stalls.watch();
        Self {
            unanswered: AtomicU32::new(0),
            open: AtomicBool::new(false),
            health: Arc::clone(health),
            stalls,
            closed_at: Mutex::default(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts an answer, also one that is an error.
    pub(crate) fn answered(&self) {
        // A load before each store: all requests share these fields, and they hardly ever change.
        if self.unanswered.load(Ordering::Relaxed) != 0 {
            self.unanswered.store(0, Ordering::Relaxed);
        }
    }

    /// Closes it: a probe was answered. Other answers may be to what was asked before, or to less than what failed.
    pub(crate) fn recovered(&self) {
        self.answered();
        if self.is_open() && self.open.swap(false, Ordering::AcqRel) {
            let mut closed_at = self
                .closed_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *closed_at = Some(Instant::now());
            drop(closed_at);
            self.health.server_up();
            static PACE: LogPace = LogPace::new();
            if let Some(omitted) = PACE.admit(uptime()) {
                tracing::warn!(target: "tower_fred::redis", omitted, "redis answers again");
            }
        }
    }

    /// Counts a command that got no answer within `limit`, unless this process was late itself for half of that time, or
    /// the breaker was open since.
    pub(crate) fn timed_out(&self, begun: Instant, limit: Duration, error: &Error) {
        self.stalls.watch();
        let closed_at = *self
            .closed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.has_waited(begun, limit) && closed_at.is_none_or(|at| at <= begun) {
            self.unanswered(error);
        }
    }

    /// Whether this process was able to take an answer for half of `limit` at least.
    pub(crate) fn has_waited(&self, begun: Instant, limit: Duration) -> bool {
        self.stalls.awake(begun, Instant::now()) >= limit / 2
    }

    /// Counts a command that got no answer.
    pub(crate) fn unanswered(&self, error: &Error) {
        let in_a_row = self
            .unanswered
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        if in_a_row >= IN_A_ROW && !self.open.swap(true, Ordering::AcqRel) {
            self.health.server_down();
            static PACE: LogPace = LogPace::new();
            if let Some(omitted) = PACE.admit(uptime()) {
                tracing::warn!(target: "tower_fred::redis", %error, omitted, "redis does not answer");
            }
        }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        self.health.remove_server(*self.open.get_mut());
    }
}

/// How many commands in a row without an answer open the breaker.
const IN_A_ROW: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Kind, redis::connection::health::Health};

    #[test]
    fn it_opens_after_five_in_a_row_and_closes_with_the_answer_to_a_probe() {
        let overall = OverallHealth::new();
        let (breaker, other) = (Breaker::new(&overall), Breaker::new(&overall));
        let health = overall.watch();
        let error = Error::new(Kind::Timeout, "no answer");
        for _ in 0..4 {
            breaker.unanswered(&error);
        }
        breaker.answered();
        for _ in 0..4 {
            breaker.unanswered(&error);
        }
        assert!(!breaker.is_open(), "never five in a row");
        breaker.unanswered(&error);
        assert!(breaker.is_open());
        assert_eq!(*health.borrow(), Health::Partial);
        drop(other);
        assert_eq!(*health.borrow(), Health::Down);
        breaker.answered();
        assert!(breaker.is_open(), "an answer to what was asked before");
        breaker.recovered();
        assert!(!breaker.is_open());
        assert_eq!(*health.borrow(), Health::Up);
    }
}
