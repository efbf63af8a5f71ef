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

/// The member that holds a place in Redis; unique over all processes.
#[derive(Clone, Debug)]
pub(crate) struct LeaseId(Box<str>);

impl LeaseId {
    pub(crate) fn new() -> Self {
        static PROCESS: LazyLock<String> = LazyLock::new(name_of_process);
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{}{number:x}", *PROCESS).into())
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
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
