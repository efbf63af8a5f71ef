//! Waiting that has an end: what never happens fails a test, and does not hold up all the others.

use std::{future::Future, time::Duration};

use tokio::time::timeout;

/// Waits for `work`, a minute at most.
///
/// # Panics
///
/// When it takes longer; says what was waited for.
pub async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let result = timeout(Duration::from_secs(60), work).await;
    result.unwrap_or_else(|_| panic!("waited a minute in vain: {what}"))
}
