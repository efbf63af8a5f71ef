//! Waiting with a limit: an event that never happens fails one test, and does not hang the others.

use std::{future::Future, time::Duration};

use tokio::{task::yield_now, time::timeout};

/// Waits for `work`, one minute at most.
///
/// # Panics
///
/// When it takes longer. The message says `what` was waited for.
pub async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let result = timeout(Duration::from_secs(60), work).await;
    result.unwrap_or_else(|_| panic!("waited a minute in vain: {what}"))
}

/// Asks again and again until `is_so` gives true, one minute at most.
///
/// # Panics
///
/// As [`patiently`].
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    patiently(what, async {
        while !is_so().await {
            yield_now().await;
        }
    })
    .await;
}
