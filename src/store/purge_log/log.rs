//! The purge log of a namespace, and the copy of it in this process.
//!
//! The log is read when a caller needs to know it and the last read is too long ago, as soon as a record is added, and
//! while it is in use as often as the bound on what is known asks for. That a read was answered without a new record proves
//! that there was none when it began. The answer of the connection that waits for records does not prove that, since a
//! replica gives it too: it has the log read.
//!
//! Each read begins with the last known record. If that record is gone or another one has its id, then the log was flushed,
//! trimmed or rolled back by a failover, and it is read from its beginning. Only a server that accepts writes is read: a
//! replica may have lost its primary.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, RwLock, Semaphore, watch},
    time::timeout,
};

use super::clock::{clock, micros};
use crate::{
    error::{Error, Kind},
    redis::Redis,
    store::{
        entry::{
            log_position::Seq,
            state::Verdict,
            tag::{Subject, Tag},
        },
        history::map::Purges,
    },
};

/// The purge log of a namespace. There is one for each handle, see [`Log::of`].
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) redis: Redis,
    pub(crate) key: String,
    purges: std::sync::RwLock<Purges>,
    /// How often `purges` has changed, counted from 1. It is raised while `purges` is locked for writing.
    generation: AtomicU64,
    /// When the last read that succeeded began, on [`clock`]; 0 before the first.
    pub(crate) looked_at: AtomicU64,
    /// Shared by reads of what is new and by purges that are added; a read of the whole log has it alone. Only tasks of
    /// their own hold it: the future of a caller may not be polled for long, and would block all others.
    pub(crate) turn: RwLock<()>,
    /// Reads that began before this, on [`clock`], do not count: they may not know a purge of this process.
    pub(crate) not_before: AtomicU64,
    pub(crate) signals: Arc<Signals>,
    pub(crate) used: AtomicBool,
    pub(crate) is_polled: AtomicBool,
    /// Whether the log is in use. It is the only sender: receivers learn from its end that the log was dropped.
    pub(crate) in_use: watch::Sender<bool>,
    /// How many reads may run at once.
    pub(crate) reads: Arc<Semaphore>,
    /// When the expiry of the log in Redis was last extended, on [`clock`].
    pub(crate) extended_at: AtomicU64,
}

/// Signals between the callers that need to know the log and the task that reads it.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    pub(crate) wanted: Notify,
    pub(crate) last: watch::Sender<Look>,
}

/// When a read began, and how it failed if it did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    pub(crate) began_at: u64,
    pub(crate) failed: Option<Kind>,
}

impl Log {
    /// The log of the namespace of `redis`, shared by all users of that handle.
    pub(crate) fn of(redis: &Redis) -> Arc<Self> {
        redis.shared(|| Self {
            key: format!("{}:purges", redis.namespace()),
            redis: redis.clone(),
            purges: std::sync::RwLock::default(),
            generation: AtomicU64::new(1),
            looked_at: AtomicU64::new(0),
            turn: RwLock::default(),
            not_before: AtomicU64::new(0),
            signals: Arc::default(),
            used: AtomicBool::new(false),
            is_polled: AtomicBool::new(false),
            in_use: watch::Sender::new(true),
            reads: Arc::new(Semaphore::new(MOST_READS)),
            extended_at: AtomicU64::new(0),
        })
    }

    /// The last known place in the log: entries that are made from now on carry it.
    pub(crate) fn seq(&self) -> Seq {
        self.purges
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .last()
    }

    /// Whether an entry was purged, as far as this process knows.
    pub(crate) fn judge(
        &self,
        seq: Seq,
        subject: Subject,
        tags: impl IntoIterator<Item = Tag> + Clone,
    ) -> Verdict {
        self.purges
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .judge(seq, subject, tags)
    }

    /// How often what this process knows of the log has changed; never zero. An entry that held at a number holds as long as
    /// the number is the same. Who calls [`is_known`](Self::is_known) before gets a number that counts those purges.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether what is known is as recent as it has to be, on [`clock`]. Marks the log as used.
    pub(crate) fn is_recent(&self, now: u64) -> bool {
        self.is_known_at(now, self.redis.coherence())
    }

    /// Whether all purges are known that were over this long ago. Marks the log as used.
    pub(crate) fn is_known(&self, ago: Duration) -> bool {
        self.is_known_at(clock(), ago)
    }

    fn is_known_at(&self, now: u64, ago: Duration) -> bool {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        match self.looked_at() {
            0 => false,
            at => now.saturating_sub(at) <= micros(ago),
        }
    }

    /// When the last read that succeeded began, on [`clock`].
    pub(crate) fn looked_at(&self) -> u64 {
        self.looked_at.load(Ordering::Acquire)
    }

    /// Waits for a read of the log that begins after this was called. Callers that come within some milliseconds share one.
    pub(crate) async fn next_look(&self) -> Result<(), Error> {
        let called_at = clock();
        self.signals.wanted.notify_one();
        let mut last = self.signals.last.subscribe();
        let look = last.wait_for(|look| look.began_at >= called_at);
        // Time for a read of several pages, and some for the task to be scheduled.
        let look = match timeout(self.redis.deadline() * 3, look).await {
            Ok(Ok(look)) => look.failed,
            Ok(Err(_)) | Err(_) => Some(Kind::Timeout),
        };
        match look {
            None => Ok(()),
            Some(kind) => Err(Error::new(kind, "the purge log could not be read")),
        }
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Purges) -> T) -> T {
        let mut purges = self.purges.write().unwrap_or_else(PoisonError::into_inner);
        let known = purges.last();
        let changed = change(&mut purges);
        // A record is the last one when it is added: the place changes with everything else.
        if purges.last() != known {
            self.generation.fetch_add(1, Ordering::Release);
        }
        changed
    }

    /// Replaces all that is known.
    pub(crate) fn replace(&self, found: Purges) {
        self.change(|purges| {
            *purges = found;
            self.generation.fetch_add(1, Ordering::Release);
        });
    }

    /// Notes that all purges are known that were over at `began_at`.
    pub(crate) fn note(&self, began_at: u64) {
        // One at a time, see `doubt`.
        self.change(|_| {
            if began_at >= self.not_before.load(Ordering::Relaxed) {
                self.looked_at.fetch_max(began_at, Ordering::Release);
            }
        });
    }

    /// Notes that a purge of this process, which is over, is not known: nothing counts as known until a read that begins
    /// after this has succeeded.
    pub(crate) fn doubt(&self) {
        self.change(|_| {
            self.not_before.store(clock(), Ordering::Relaxed);
            self.looked_at.store(0, Ordering::Release);
        });
    }
}

/// More than begin within the usual deadline.
pub(crate) const MOST_READS: usize = 64;
