//! Purges: what they take out of use, on which node, and what happens when the purge log is damaged or lost.

mod coherence;
mod latency;
mod listen;
mod log;
mod near;
mod outage;
mod purge;
mod replica;
mod requests;
mod shared_reads;

use std::time::Duration;

/// Waits until every process has read the purge log again: only time tells, it is 50 ms at most.
async fn until_log_is_read() {
    tokio::time::sleep(Duration::from_millis(60)).await;
}
