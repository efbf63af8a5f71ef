//! What could not be written while Redis was away, and is written when it is back.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::watch, time::sleep};

use super::{inner::Inner, lease::Lease};
use crate::{
    error::Error,
    redis::Health,
    store::entry::{
        decode::Entry,
        slot::{Seen, Slot},
    },
};

/// The writes of one store that wait for Redis, in the order in which they failed. More than fit are left out.
#[derive(Default)]
pub(crate) struct Postponed(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    writes: VecDeque<Write>,
    bytes: usize,
    /// Whether a task attends to them.
    is_attended: bool,
}

struct Write {
    slot: Slot,
    what: What,
    until: Instant,
}

enum What {
    /// An entry, in the place of what was seen.
    Fill { seen: Seen, blob: Bytes },
    /// The end of a lease.
    Release(Lease),
}

impl Inner {
    /// Stores an entry when Redis is back, if it still holds then and nothing else is there.
    pub(crate) fn fill_later(
        self: &Arc<Self>,
        slot: &Slot,
        seen: Seen,
        blob: Bytes,
        until: Instant,
    ) {
        self.postpone(slot, What::Fill { seen, blob }, until);
    }

    /// Gives a lease back when Redis is back. Until then this process knows that nobody makes anything under it.
    pub(crate) fn release_later(self: &Arc<Self>, slot: &Slot, lease: Lease) {
        self.postpone(slot, What::Release(lease), Instant::now() + RELEASE_WITHIN);
    }

    fn postpone(self: &Arc<Self>, slot: &Slot, what: What, until: Instant) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let slot = slot.clone();
        if self.postponed.push(Write { slot, what, until }) {
            let attendant = Attendant {
                store: Arc::downgrade(self),
                is_over: false,
            };
            runtime.spawn(attend(attendant, self.remote.watch_health()));
        }
    }

    /// Whether nothing is left to be written.
    async fn write_postponed(self: &Arc<Self>) -> bool {
        for _ in 0..self.postponed.len() {
            let Some(write) = self.postponed.pop() else {
                break;
            };
            if let Err(error) = self.write(&write).await {
                tracing::debug!(target: "tower_fred::store", %error, "a postponed write failed");
                let is_away = error.is_unavailable();
                if is_away {
                    self.postponed.put_back(write);
                }
                // One shard of a cluster may be away while the others are there.
                if is_away && self.remote.health() != Health::Partial {
                    break;
                }
            }
        }
        self.postponed.is_done()
    }

    async fn write(self: &Arc<Self>, write: &Write) -> Result<(), Error> {
        let Write { slot, what, until } = write;
        let left = until.saturating_duration_since(Instant::now());
        match what {
            _ if left.is_zero() => Ok(()),
            What::Release(lease) => self.remote.release(slot, lease).await,
            What::Fill { seen, blob } => {
                self.knowing(async { Ok(()) }).await?;
                let entry = Entry::decode(blob.clone(), slot.digest());
                if entry.is_none_or(|entry| self.judge(slot, &entry).is_none()) {
                    return Ok(());
                }
                if self
                    .remote
                    .fill(slot, seen, blob.clone(), left, None)
                    .await?
                {
                    self.forget_near(slot.digest());
                }
                Ok(())
            }
        }
    }
}

impl Postponed {
    /// The lease with these bytes, if it is one that this process has ended and not yet given back. It is the caller's then.
    pub(crate) fn take_lease(&self, blob: &Bytes) -> Option<Lease> {
        let mut queue = self.lock();
        let is_it = |write: &Write| match &write.what {
            What::Release(lease) => lease.blob() == blob,
            What::Fill { .. } => false,
        };
        let place = queue.writes.iter().position(is_it)?;
        match queue.remove(place)?.what {
            What::Release(lease) => Some(lease),
            What::Fill { .. } => None,
        }
    }

    /// Whether a task is needed that attends to them.
    fn push(&self, write: Write) -> bool {
        let mut queue = self.lock();
        let bytes = queue.bytes + write.bytes();
        if queue.writes.len() >= MOST_WRITES || bytes > MOST_BYTES {
            return false;
        }
        queue.bytes = bytes;
        queue.writes.push_back(write);
        !std::mem::replace(&mut queue.is_attended, true)
    }

    fn pop(&self) -> Option<Write> {
        self.lock().remove(0)
    }

    fn put_back(&self, write: Write) {
        let mut queue = self.lock();
        queue.bytes += write.bytes();
        queue.writes.push_back(write);
    }

    fn len(&self) -> usize {
        self.lock().writes.len()
    }

    /// Whether nothing is left. If so, nobody attends to them any more.
    fn is_done(&self) -> bool {
        let mut queue = self.lock();
        queue.is_attended = !queue.writes.is_empty();
        !queue.is_attended
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn remove(&mut self, place: usize) -> Option<Write> {
        let write = self.writes.remove(place)?;
        self.bytes -= write.bytes();
        Some(write)
    }
}

impl Write {
    fn bytes(&self) -> usize {
        match &self.what {
            What::Fill { blob, .. } => blob.len(),
            What::Release(lease) => lease.blob().len(),
        }
    }
}

/// The task that attends to the writes of a store. Its end lets another one begin, also when its runtime ends.
struct Attendant {
    store: Weak<Inner>,
    is_over: bool,
}

impl Drop for Attendant {
    fn drop(&mut self) {
        if let (Some(store), false) = (self.store.upgrade(), self.is_over) {
            store.postponed.lock().is_attended = false;
        }
    }
}

async fn attend(mut attendant: Attendant, mut health: watch::Receiver<Health>) {
    let mut pause = FIRST_PAUSE;
    loop {
        if *health.borrow_and_update() == Health::Down {
            pause = FIRST_PAUSE;
        }
        // The sender ends with the last clone of the handle.
        if health
            .wait_for(|health| *health != Health::Down)
            .await
            .is_err()
        {
            return;
        }
        let Some(store) = attendant.store.upgrade() else {
            return;
        };
        if store.write_postponed().await {
            attendant.is_over = true;
            return;
        }
        drop(store);
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

impl fmt::Debug for Postponed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postponed").finish_non_exhaustive()
    }
}

const MOST_WRITES: usize = 1024;
const MOST_BYTES: usize = 16 << 20;
/// For how long a lease may be in Redis after this process has given it up: the command that takes it may be run late.
const RELEASE_WITHIN: Duration = Duration::from_secs(60);
/// Before the next attempt while Redis counts as up.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(500);
