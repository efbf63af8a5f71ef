//! The purge log of a namespace, and the copy of it in this process.
//!
//! The log is read when a caller needs to know it and the last read is too long ago, as soon as a record is added, and
//! regularly while it is in use. Each read begins with the last known record. If that record is gone or another one has
//! its id, then the log was flushed, trimmed or rolled back by a failover, and it is read from its beginning. Only a server
//! that accepts writes is read: a replica may have lost its primary.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify, watch},
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
    purges: RwLock<Purges>,
    /// When the last read that succeeded began, on [`clock`]; 0 before the first.
    pub(crate) looked_at: AtomicU64,
    /// Held while the log is read or a purge is added. Only tasks of their own hold it: the future of a caller may not be
    /// polled for long, and would block all others.
    pub(crate) turn: Mutex<()>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) used: AtomicBool,
    pub(crate) is_polled: AtomicBool,
    /// Whether the log is in use. It is the only sender: receivers learn from its end that the log was dropped.
    pub(crate) in_use: watch::Sender<bool>,
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
            purges: RwLock::default(),
            looked_at: AtomicU64::new(0),
            turn: Mutex::default(),
            signals: Arc::default(),
            used: AtomicBool::new(false),
            is_polled: AtomicBool::new(false),
            in_use: watch::Sender::new(true),
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

    /// Whether all purges are known that were over this long ago. Marks the log as used.
    pub(crate) fn is_known(&self, ago: Duration) -> bool {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        match self.looked_at() {
            0 => false,
            at => clock().saturating_sub(at) <= micros(ago),
        }
    }

    /// When the last read that succeeded began, on [`clock`].
    pub(crate) fn looked_at(&self) -> u64 {
        self.looked_at.load(Ordering::Acquire)
    }

    /// Waits for a read of the log that begins after this was called. One read runs at a time: callers that come
    /// meanwhile share the next one.
    pub(crate) async fn next_look(&self) -> Result<(), Error> {
        let called_at = clock();
        self.signals.wanted.notify_one();
        let mut last = self.signals.last.subscribe();
        let look = last.wait_for(|look| look.began_at >= called_at);
        // Time for two reads, the running one and the next one, and some for the task to be scheduled.
        let look = match timeout(self.redis.deadline() * 3, look).await {
            Ok(Ok(look)) => look.failed,
            Ok(Err(_)) | Err(_) => Some(Kind::Timeout),
        };
        match look {
            None => Ok(()),
            Some(kind) => Err(Error::new(kind, "the purge log could not be read")),
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Purges)) {
        change(&mut self.purges.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// How old the copy of the log may be when it is relied on.
pub(crate) const RECENT: Duration = Duration::from_millis(50);
