//! The memory, tasks, files and panics of this process, and the delays of the machine.

use std::{
    fs, panic,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// What a leak would increase.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// Resident memory in KiB.
    pub(crate) memory: usize,
    pub(crate) tasks: usize,
    /// Open files and sockets.
    pub(crate) files: usize,
}

impl Usage {
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let memory = status.lines().find_map(|line| {
            let rest = line.strip_prefix("VmRSS:")?;
            rest.trim().split(' ').next()?.parse().ok()
        });
        Self {
            memory: memory.unwrap_or(0),
            tasks: tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks(),
            files: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        }
    }
}

/// Counts panics from now on, also those of tasks that are not awaited.
pub(crate) fn count_panics() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        default(info);
    }));
}

pub(crate) fn panics() -> usize {
    PANICS.load(Ordering::Relaxed)
}

/// Measures from now on by how much a sleeping thread wakes too late.
pub(crate) fn watch_machine() {
    thread::spawn(|| {
        loop {
            let due = Instant::now() + NAP;
            thread::sleep(NAP);
            let late = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
            LATE_MICROS.fetch_max(late, Ordering::Relaxed);
        }
    });
}

/// The longest delay of a thread since the last call.
pub(crate) fn held_up() -> Duration {
    Duration::from_micros(LATE_MICROS.swap(0, Ordering::Relaxed))
}

const NAP: Duration = Duration::from_millis(2);
static LATE_MICROS: AtomicU64 = AtomicU64::new(0);
static PANICS: AtomicUsize = AtomicUsize::new(0);
