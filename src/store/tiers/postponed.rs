//! The writes that wait until Redis is back.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;

use super::lease::Lease;
use crate::store::entry::slot::{Seen, Slot};

/// The writes of one store that wait for Redis, in the order in which they failed. When there are too many, the oldest is
/// dropped.
#[derive(Default)]
pub(crate) struct Postponed(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    writes: VecDeque<Write>,
    bytes: usize,
    /// Whether a task sends them.
    is_attended: bool,
}

pub(crate) struct Write {
    pub(crate) slot: Slot,
    pub(crate) what: What,
    /// After this, it is dropped.
    pub(crate) until: Instant,
}

pub(crate) enum What {
    /// An entry, in the place of what was seen.
    Fill { seen: Seen, blob: Bytes },
    /// The end of a lease.
    Release(Lease),
}

impl Postponed {
    /// The lease with these bytes, if it is one that this process has ended and not yet given back. The caller owns it then.
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

    /// Adds a write; whether the caller has to start a task that sends them.
    pub(crate) fn push(&self, write: Write) -> bool {
        let mut queue = self.lock();
        if write.bytes() > MOST_BYTES {
            return false;
        }
        queue.bytes += write.bytes();
        queue.writes.push_back(write);
        while queue.writes.len() > MOST_WRITES || queue.bytes > MOST_BYTES {
            queue.remove(0);
        }
        !std::mem::replace(&mut queue.is_attended, true)
    }

    pub(crate) fn pop(&self) -> Option<Write> {
        self.lock().remove(0)
    }

    /// Takes a write back that failed again.
    pub(crate) fn put_back(&self, write: Write) {
        let mut queue = self.lock();
        if queue.writes.len() < MOST_WRITES && queue.bytes + write.bytes() <= MOST_BYTES {
            queue.bytes += write.bytes();
            queue.writes.push_back(write);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().writes.len()
    }

    /// Whether nothing is left. If so, the task that sends them ends.
    pub(crate) fn is_done(&self) -> bool {
        let mut queue = self.lock();
        queue.is_attended = !queue.writes.is_empty();
        !queue.is_attended
    }

    /// The task that sends them ended early: the next write that is added needs another one.
    pub(crate) fn abandon(&self) {
        self.lock().is_attended = false;
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

impl fmt::Debug for Postponed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postponed").finish_non_exhaustive()
    }
}

const MOST_WRITES: usize = 1024;
const MOST_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::{key::resource, tag::Tag};

    fn fill(number: u8, length: usize) -> Write {
        let digest = resource("host", "/", None);
        let slot = Slot {
            kind: 'c',
            group: Tag::of_group(&digest),
            resource: digest,
            digest,
        };
        let blob = Bytes::from(vec![number; length]);
        let seen = Seen::Nothing;
        Write {
            slot,
            what: What::Fill { seen, blob },
            until: Instant::now(),
        }
    }

    fn first(postponed: &Postponed) -> u8 {
        match postponed.pop().expect("a write").what {
            What::Fill { blob, .. } => blob[0],
            What::Release(_) => panic!("a fill"),
        }
    }

    #[test]
    fn the_oldest_make_room() {
        let postponed = Postponed::default();
        assert!(postponed.push(fill(1, 1)), "a task is needed");
        for _ in 1..MOST_WRITES {
            assert!(!postponed.push(fill(2, 1)));
        }
        assert_eq!(postponed.len(), MOST_WRITES);
        postponed.push(fill(3, 1));
        assert_eq!((postponed.len(), first(&postponed)), (MOST_WRITES, 2));
        postponed.push(fill(4, MOST_BYTES));
        assert_eq!((postponed.len(), first(&postponed)), (1, 4));
        postponed.push(fill(5, MOST_BYTES + 1));
        assert_eq!(postponed.len(), 0, "too large");
    }

    #[test]
    fn a_lease_is_taken_once() {
        let postponed = Postponed::default();
        let digest = resource("host", "/", None);
        let lease = Lease::new(&digest).expect("a lease");
        let other = Lease::new(&digest).expect("a lease");
        let write = fill(1, 1);
        postponed.push(Write {
            what: What::Release(lease.clone()),
            ..write
        });
        assert!(postponed.take_lease(other.blob()).is_none());
        assert!(postponed.take_lease(lease.blob()).is_some());
        assert!(postponed.take_lease(lease.blob()).is_none());
        assert!(postponed.is_done());
    }
}
