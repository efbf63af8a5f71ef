//! What an operator reads.

use std::{
    io,
    sync::{Arc, Mutex},
};

/// The log of one thread, with the lines of all tasks on it.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn of_this_thread() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines with all of these words.
    pub fn lines(&self, words: &[&str]) -> Vec<String> {
        let bytes = self.0.lock().expect("the log").clone();
        let text = String::from_utf8(bytes).expect("text");
        text.lines()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .map(ToOwned::to_owned)
            .collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
