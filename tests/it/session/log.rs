//! The log of a test.

use std::sync::{Arc, Mutex};

use tracing::{
    Level,
    subscriber::{DefaultGuard, set_default},
};

/// Collects what tracing writes.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("the log")).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged on this thread, which is where a test runs, as long as the guard is there.
pub(super) fn logged() -> (Log, DefaultGuard) {
    logged_at(Level::DEBUG)
}

/// The same from this level on.
pub(super) fn logged_at(level: Level) -> (Log, DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(move || writer.clone())
        .finish();
    (log, set_default(subscriber))
}
