//! The settings of a store.

use std::time::Duration;

/// What the users of one store have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The size of the near tier in bytes; `None` for no near tier.
    pub(crate) near: Option<usize>,
    /// How long near entries may be used after the purge log was last read, while it cannot be read.
    pub(crate) serve_for: Duration,
    /// How eagerly entries are made anew before they are stale: 0 is never, 1 is usual.
    pub(crate) eagerness: f64,
    /// How long to wait for another caller or process that makes the same entry.
    pub(crate) wait: Duration,
    /// Processes wait for one another only when it takes longer than this to make an entry.
    pub(crate) lease_above: Duration,
    /// How long no load of a key is tried after one has failed, while there is a stale entry to use.
    pub(crate) error_pause: Duration,
    /// How many entries are made anew in the background at once.
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
