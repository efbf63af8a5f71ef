//! The identifier of a lease.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    process,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use crate::rate_limit::quota::policies::Limit;

/// The name of a lease; unique over all processes.
#[derive(Clone, Debug)]
pub(crate) struct LeaseId(Box<str>);

impl LeaseId {
    pub(crate) fn new() -> Self {
        static PROCESS: LazyLock<String> = LazyLock::new(name_of_process);
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{}{number:x}", *PROCESS).into())
    }

    /// The member that holds a place of a concurrency policy: it contains the length of the lease.
    pub(crate) fn member(&self, limit: &Limit) -> String {
        let lease = limit.policy.lease_time().unwrap_or_default();
        format!("{}:{}", self.0, lease.as_micros())
    }
}

/// Not secret, only different in each process.
fn name_of_process() -> String {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(process::id());
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    hasher.write_u128(now.as_nanos());
    format!("{:016x}:", hasher.finish())
}
