//! Reads of one stored response at the same time share one command.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::{runtime::Handle, sync::watch};

use crate::{
    error::{Error, Kind},
    store::{
        entry::{key::Digest, slot::Sight},
        purge_log::log::RECENT,
    },
};

/// The reads of one namespace that run now.
///
/// While few run, each caller sends its own command: nothing is shared, and nothing is locked. Above that, a caller may get
/// the reply to a read that began up to [`RECENT`] before it came. That is safe for stored responses:
///
/// - a purge or an unsafe request that was over before the caller came is in the purge log, and the caller judges the entry
///   by a look at the log that is as recent as for a reply of its own;
/// - what this process has stored or deleted since the read began is not missed, see [`forget`](Self::forget);
/// - an entry that another process has replaced without a purge is used only while it is fresh, and one that is missing or
///   stale makes the caller ask Redis again, for the lease.
#[derive(Debug, Default)]
pub(crate) struct SharedReads {
    running: AtomicUsize,
    listed: Mutex<HashMap<Digest, Read>>,
}

/// A read that runs in a task of its own: no caller has to be polled for the others to get the reply.
#[derive(Clone, Debug)]
struct Read {
    began: Instant,
    reply: watch::Receiver<Option<Reply>>,
}

type Reply = Result<Sight, Kind>;

impl SharedReads {
    /// Reads what is in a slot, by `read` or by a read of another caller.
    pub(crate) async fn run<F>(
        self: &Arc<Self>,
        digest: &Digest,
        read: impl Fn() -> F,
    ) -> Result<Sight, Error>
    where
        F: Future<Output = Result<Sight, Error>> + Send + 'static,
    {
        match Handle::try_current() {
            Ok(runtime) if self.running.load(Ordering::Relaxed) >= FEW => {
                self.share(&runtime, digest, read).await
            }
            _ => {
                let _running = Running::new(&self.running);
                read().await
            }
        }
    }

    async fn share<F>(
        self: &Arc<Self>,
        runtime: &Handle,
        digest: &Digest,
        read: impl Fn() -> F,
    ) -> Result<Sight, Error>
    where
        F: Future<Output = Result<Sight, Error>> + Send + 'static,
    {
        let came = Instant::now();
        loop {
            let mut shared = self.join(runtime, digest, &read);
            let reply = match shared.reply.wait_for(Option::is_some).await {
                Ok(reply) => reply.clone(),
                // The task ended with its runtime.
                Err(_) => None,
            };
            match reply.unwrap_or(Err(Kind::Unavailable)) {
                Ok(sight) => return Ok(sight),
                // It may have been sent on a connection that was lost before this caller came.
                Err(_) if shared.began < came => {}
                Err(kind) => return Err(Error::new(kind, "a read for several callers failed")),
            }
        }
    }

    /// The read that runs, or a new one.
    fn join<F>(self: &Arc<Self>, runtime: &Handle, digest: &Digest, read: impl Fn() -> F) -> Read
    where
        F: Future<Output = Result<Sight, Error>> + Send + 'static,
    {
        let mut listed = self.lock();
        if let Some(read) = listed.get(digest) {
            if read.began.elapsed() < RECENT {
                return read.clone();
            }
        }
        let (sender, reply) = watch::channel(None);
        let began = Instant::now();
        let begun = Read { began, reply };
        listed.insert(*digest, begun.clone());
        let listing = Listing {
            reads: Arc::clone(self),
            digest: *digest,
            reply: begun.reply.clone(),
        };
        let read = read();
        runtime.spawn(async move {
            let running = Running::new(&listing.reads.running);
            let sight = read.await;
            drop(running);
            // First: a caller that tries again must not find it.
            drop(listing);
            if let Err(error) = &sight {
                tracing::debug!(target: "tower_fred::store", %error, "a read for several callers failed");
            }
            sender.send_replace(Some(sight.map_err(|error| error.kind())));
        });
        begun
    }

    /// Later callers begin a read of their own: called when this process has changed what is in the slot.
    pub(crate) fn forget(&self, digest: &Digest) {
        // A read is counted before it is sent. One that is not counted yet sees the change.
        if self.running.load(Ordering::SeqCst) > 0 {
            self.lock().remove(digest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Read>> {
        // Nothing panics while it is held.
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a read while it runs.
struct Running<'a>(&'a AtomicUsize);

impl<'a> Running<'a> {
    fn new(running: &'a AtomicUsize) -> Self {
        running.fetch_add(1, Ordering::SeqCst);
        Self(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Takes a read off the list when its task ends.
struct Listing {
    reads: Arc<SharedReads>,
    digest: Digest,
    reply: watch::Receiver<Option<Reply>>,
}

impl Drop for Listing {
    fn drop(&mut self) {
        let mut listed = self.reads.lock();
        let is_it = |listed: &Read| listed.reply.same_channel(&self.reply);
        if listed.get(&self.digest).is_some_and(is_it) {
            listed.remove(&self.digest);
        }
    }
}

/// How many reads run at once before callers share them.
const FEW: usize = 4;
