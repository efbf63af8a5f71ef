//! How long one request waits in all for what it asks Redis.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::time::timeout_at;

use super::handle::Redis;
use crate::error::{Error, Kind};

/// The time that one part of a request has for what it asks Redis: one deadline in all, whatever the number of commands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget(Instant);

impl Redis {
    /// The budget of what begins now.
    pub(crate) fn budget(&self) -> Budget {
        Budget::new(self.deadline())
    }
}

impl Budget {
    /// The time that is left after now: one deadline, and an eighth of it for answers that come just before its end.
    fn new(deadline: Duration) -> Self {
        Self(Instant::now() + deadline + deadline / 8)
    }

    /// Waits for `work` while there is time left. When there is none, it is not begun.
    pub(crate) async fn limit<T>(
        self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if Instant::now() < self.0 {
            if let Ok(result) = timeout_at(self.0.into(), work).await {
                return result;
            }
        }
        Err(Error::new(
            Kind::Timeout,
            "the request waits no longer for redis",
        ))
    }

    /// Leaves out the time in which another caller made the entry.
    #[cfg(feature = "cache")]
    pub(crate) fn extend(&mut self, waited: Duration) {
        self.0 += waited;
    }
}
