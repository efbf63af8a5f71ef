//! The purge log in Redis, and what this process knows of it.
//!
//! It is read when somebody needs to know and the last look is too long ago, as soon as something is added to it, and
//! regularly for as long as somebody needs it. Each look begins with the record that was last in the one before: if that
//! is not there any more, or is another one, the log was flushed, trimmed or taken back by a failover, and is read from
//! its beginning. Only a server that takes writes is believed: a replica may have lost its primary.

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

/// The log of a namespace. There is one for each handle: [`Log::of`].
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) redis: Redis,
    pub(crate) key: String,
    purges: RwLock<Purges>,
    /// When the last look that succeeded began, on [`clock`]; 0 before the first.
    pub(crate) looked_at: AtomicU64,
    /// Held by who reads or writes the log, which is always a task of its own: a caller may not be polled again for long,
    /// and would keep all others waiting.
    pub(crate) turn: Mutex<()>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) used: AtomicBool,
    pub(crate) followed: AtomicBool,
    /// Whether it was used lately. Nobody else has the sender: that it is gone tells that the log is.
    pub(crate) in_use: watch::Sender<bool>,
    /// When the log was last told to live on, on [`clock`].
    pub(crate) extended_at: AtomicU64,
}

/// Between those who need to know and the task that looks.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    pub(crate) wanted: Notify,
    pub(crate) last: watch::Sender<Look>,
}

/// When a look began, and whether it failed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    pub(crate) began_at: u64,
    pub(crate) failed: Option<Kind>,
}

impl Log {
    /// The log of the namespace of `redis`, shared by all who use that handle.
    pub(crate) fn of(redis: &Redis) -> Arc<Self> {
        redis.shared(|| Self {
            key: format!("{}:purges", redis.namespace()),
            redis: redis.clone(),
            purges: RwLock::default(),
            looked_at: AtomicU64::new(0),
            turn: Mutex::default(),
            signals: Arc::default(),
            used: AtomicBool::new(false),
            followed: AtomicBool::new(false),
            in_use: watch::Sender::new(true),
            extended_at: AtomicU64::new(0),
        })
    }

    /// What is known of the log: the mark of what is made from now on.
    pub(crate) fn seq(&self) -> Seq {
        self.purges
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .last()
    }

    /// Whether an entry still holds, as far as is known.
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

    /// Whether all purges are known that were over this long ago.
    pub(crate) fn is_known(&self, ago: Duration) -> bool {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        match self.looked_at() {
            0 => false,
            at => clock().saturating_sub(at) <= micros(ago),
        }
    }

    /// When the last look that succeeded began, on [`clock`].
    pub(crate) fn looked_at(&self) -> u64 {
        self.looked_at.load(Ordering::Acquire)
    }

    /// Waits for a look at the log that begins after this was called. At most one look is under way: who comes meanwhile
    /// shares the next one.
    pub(crate) async fn next_look(&self) -> Result<(), Error> {
        let called_at = clock();
        self.signals.wanted.notify_one();
        let mut last = self.signals.last.subscribe();
        let look = last.wait_for(|look| look.began_at >= called_at);
        // Two looks, one that is under way and the next, and some time for whoever runs them.
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

/// How old what is known of the log may be when it is relied on.
pub(crate) const RECENT: Duration = Duration::from_millis(50);
