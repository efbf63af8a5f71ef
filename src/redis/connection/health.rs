//! Whether Redis answers, as one state for all layers.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use tokio::sync::watch;

use crate::error::Error;

/// Whether commands reach Redis. [`Redis::health`](crate::Redis::health) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Commands are sent.
    Up,
    /// Some servers of a cluster stopped answering: commands for their keys fail at once, the others are sent.
    Partial,
    /// Redis stopped answering. Commands fail at once, until an answer to a probe ends this.
    Down,
}

/// The health of all servers of a handle, summed up.
#[derive(Debug)]
pub(crate) struct Board {
    health: watch::Sender<Health>,
    /// How many servers there are, and how many of them are down.
    count: Mutex<(usize, usize)>,
}

impl Board {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            health: watch::Sender::new(Health::Up),
            count: Mutex::default(),
        })
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut (usize, usize))) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut count);
        let health = match *count {
            (_, 0) => Health::Up,
            (all, down) if down == all => Health::Down,
            _ => Health::Partial,
        };
        self.health
            .send_if_modified(|current| std::mem::replace(current, health) != health);
    }
}

/// Opens after several commands in a row got no answer; closes with the first answer.
#[derive(Debug)]
pub(crate) struct Breaker {
    unanswered: AtomicU32,
    open: AtomicBool,
    board: Arc<Board>,
}

impl Breaker {
    pub(crate) fn new(board: &Arc<Board>) -> Self {
        board.change(|(all, _)| *all += 1);
        Self {
            unanswered: AtomicU32::new(0),
            open: AtomicBool::new(false),
            board: Arc::clone(board),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Notes an answer, whatever it says.
    pub(crate) fn answered(&self) {
        // Read before writing: all requests share these, and they hardly ever change.
        if self.unanswered.load(Ordering::Relaxed) != 0 {
            self.unanswered.store(0, Ordering::Relaxed);
        }
        if self.is_open() && self.open.swap(false, Ordering::AcqRel) {
            self.board.change(|(_, down)| *down -= 1);
            tracing::warn!(target: "tower_fred::redis", "redis answers again");
        }
    }

    /// Notes that a command got no answer.
    pub(crate) fn unanswered(&self, error: &Error) {
        let in_a_row = self
            .unanswered
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        if in_a_row >= IN_A_ROW && !self.open.swap(true, Ordering::AcqRel) {
            self.board.change(|(_, down)| *down += 1);
            tracing::warn!(target: "tower_fred::redis", %error, "redis does not answer");
        }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        let was_open = *self.open.get_mut();
        self.board.change(|(all, down)| {
            *all -= 1;
            *down -= usize::from(was_open);
        });
    }
}

/// How many commands in a row without an answer open the breaker.
const IN_A_ROW: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn it_opens_after_five_in_a_row_and_closes_with_one_answer() {
        let board = Board::new();
        let (breaker, other) = (Breaker::new(&board), Breaker::new(&board));
        let health = board.health();
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
