//! How long one request waits for Redis in all.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::time::timeout_at;

use crate::error::{Error, Kind};

/// The time that is left to a request for what it asks Redis. Its time in which somebody else makes the entry does not
/// count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget(Instant);

impl Budget {
    /// Of one deadline, and an eighth for the answers that come just before it.
    pub(crate) fn new(deadline: Duration) -> Self {
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

    /// Leaves out some time in which somebody else made the entry.
    pub(crate) fn extend(&mut self, waited: Duration) {
        self.0 += waited;
    }
}
