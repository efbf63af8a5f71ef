//! Whether the server refuses to answer several questions at once.

use std::{
    error::Error as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fred::error::Error as FredError;

use super::carrier::Outcome;
use crate::{
    error::Error,
    log_pace::{LogPace, uptime},
    redis::connection::fred_error::is_split,
};

/// Until when questions go one by one since the user may not run the command for several.
#[derive(Debug, Default)]
pub(crate) struct Refusal {
    /// In milliseconds of [`uptime`]; 0 when it was never refused.
    until: AtomicU64,
}

impl Refusal {
    pub(crate) fn is_now(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && uptime().as_millis() < u128::from(until)
    }

    /// What becomes of the questions when `command`, which only reads, failed as a whole. What the server refused was not
    /// carried out.
    pub(crate) fn outcomes<A>(
        &self,
        command: &str,
        error: &Error,
        count: usize,
    ) -> Vec<Outcome<A>> {
        if error.is_unavailable() && !is_of_split(error) {
            return (0..count).map(|_| Outcome::Failed(error.share())).collect();
        }
        self.one_by_one(command, error, count)
    }

    /// What becomes of the questions when `command`, which writes, failed as a whole. It may have been carried out, unless
    /// the server says that the user may not run it, or that its keys are not all there.
    #[cfg(feature = "rate-limit")]
    pub(crate) fn outcomes_of_write<A>(
        &self,
        command: &str,
        error: &Error,
        count: usize,
    ) -> Vec<Outcome<A>> {
        if error.is_auth() || is_of_split(error) {
            return self.one_by_one(command, error, count);
        }
        (0..count).map(|_| Outcome::Failed(error.share())).collect()
    }

    fn one_by_one<A>(&self, command: &str, error: &Error, count: usize) -> Vec<Outcome<A>> {
        if error.is_auth() {
            let until = uptime() + REFUSED_FOR;
            let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
            self.until.store(until, Ordering::Relaxed);
            static PACE: LogPace = LogPace::new();
            if let Some(omitted) = PACE.admit(uptime()) {
                tracing::warn!(target: "tower_fred::redis", command, %error, omitted, "a command for several keys is refused, so each has one of its own");
            }
        }
        (0..count).map(|_| Outcome::Alone).collect()
    }
}

fn is_of_split(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &FredError| is_split(cause))
}

/// For how long.
const REFUSED_FOR: Duration = Duration::from_secs(10);
