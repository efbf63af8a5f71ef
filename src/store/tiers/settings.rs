//! The settings of a store.

use std::time::Duration;

/// What the users of one store have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How many bytes to keep in this process; `None` for none.
    pub(crate) near: Option<usize>,
    /// How long what is in this process may be used after the purge log was last read, when it cannot be read.
    pub(crate) serve_for: Duration,
    /// How eager to make an entry anew before its end: 0 is not at all, 1 is usual.
    pub(crate) eagerness: f64,
    /// How long to wait for another caller or process that makes the same.
    pub(crate) wait: Duration,
    /// What takes less to make is made by each process for itself.
    pub(crate) lease_above: Duration,
    /// How long nobody tries again what has failed, while there is a stale entry to use.
    pub(crate) error_pause: Duration,
    /// How many entries are made anew in the background at a time.
    pub(crate) refreshes: usize,
    /// How long one of them may take.
    pub(crate) refresh_limit: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            near: None,
            serve_for: Duration::ZERO,
            eagerness: 0.0,
            wait: Duration::from_secs(10),
            lease_above: Duration::from_millis(20),
            error_pause: Duration::from_secs(1),
            refreshes: 64,
            refresh_limit: Duration::from_secs(60),
        }
    }
}
