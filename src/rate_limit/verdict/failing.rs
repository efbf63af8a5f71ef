//! When a failure is logged.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::log_pace::{LogPace, uptime};

/// Whether the last attempt failed.
#[derive(Debug, Default)]
pub(super) struct Failing(AtomicBool);

impl Failing {
    /// The error, if it is the first after a success, and `pace` admits a line.
    pub(super) fn first<'a, E>(&self, error: Option<&'a E>, pace: &LogPace) -> Option<&'a E> {
        if error.is_some() {
            let is_first = !self.0.swap(true, Ordering::Relaxed);
            return error.filter(|_| is_first && pace.admit(uptime()).is_some());
        }
        // Read before writing: all requests share the flag, and it is hardly ever set.
        if self.0.load(Ordering::Relaxed) {
            self.0.store(false, Ordering::Relaxed);
        }
        None
    }
}

/// The lines of all layers of this process are paced together.
pub(super) static CHECKS: LogPace = LogPace::new();
pub(super) static SEARCHES: LogPace = LogPace::new();
