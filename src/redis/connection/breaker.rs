//! The circuit breaker of one server: after several commands without an answer, further commands fail at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use super::health::OverallHealth;
use crate::error::Error;

/// Opens after several commands in a row got no answer; closes with the first answer.
#[derive(Debug)]
pub(crate) struct Breaker {
    unanswered: AtomicU32,
    open: AtomicBool,
    health: Arc<OverallHealth>,
}

impl Breaker {
    pub(crate) fn new(health: &Arc<OverallHealth>) -> Self {
        health.add_server();
        Self {
            unanswered: AtomicU32::new(0),
            open: AtomicBool::new(false),
            health: Arc::clone(health),
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
        if self.is_open() && self.open.swap(false, Ordering::AcqRel) {
            self.health.server_up();
            tracing::warn!(target: "tower_fred::redis", "redis answers again");
        }
    }

    /// Counts a command that got no answer.
    pub(crate) fn unanswered(&self, error: &Error) {
        let in_a_row = self
            .unanswered
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        if in_a_row >= IN_A_ROW && !self.open.swap(true, Ordering::AcqRel) {
            self.health.server_down();
            tracing::warn!(target: "tower_fred::redis", %error, "redis does not answer");
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
    fn it_opens_after_five_in_a_row_and_closes_with_one_answer() {
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
        assert!(!breaker.is_open());
        assert_eq!(*health.borrow(), Health::Up);
    }
}
