//! Reads of one stored response at the same time share one command.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::watch};

use crate::{
    error::{Error, Kind},
    store::entry::{key::Digest, slot::Sight},
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

/// How long ago a read began that a caller may join.
const RECENT: Duration = Duration::from_millis(50);
/// How many reads run at once before callers share them.
const FEW: usize = 4;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::store::entry::{key::resource, slot::Seen};

    /// Reads that wait for a permit, and give their number.
    struct Server {
        reads: Arc<SharedReads>,
        begun: Arc<AtomicUsize>,
        gate: Arc<Semaphore>,
        fails: bool,
    }

    impl Server {
        /// One at which [`FEW`] reads run already.
        fn busy() -> Self {
            let server = Self {
                reads: Arc::default(),
                begun: Arc::default(),
                gate: Arc::new(Semaphore::new(0)),
                fails: false,
            };
            server.reads.running.store(FEW, Ordering::SeqCst);
            server
        }

        async fn read(&self) -> Result<Bytes, Error> {
            let digest = resource("host", "/", None);
            let read = || {
                let number = self.begun.fetch_add(1, Ordering::SeqCst);
                let (gate, fails) = (Arc::clone(&self.gate), self.fails && number == 0);
                async move {
                    gate.acquire().await.expect("open").forget();
                    if fails {
                        return Err(Error::new(Kind::Unavailable, "lost"));
                    }
                    let blob = Bytes::from(number.to_string());
                    let (entry, seen) = (None, Seen::Nothing);
                    Ok(Sight { entry, blob, seen })
                }
            };
            self.reads.run(&digest, read).await.map(|sight| sight.blob)
        }

        fn begun(&self) -> usize {
            self.begun.load(Ordering::SeqCst)
        }

        fn forget(&self) {
            self.reads.forget(&resource("host", "/", None));
        }
    }

    async fn begin<F: Future + Unpin>(future: &mut F) {
        assert!(futures_util::poll!(future).is_pending());
        tokio::task::yield_now().await;
    }

    #[tokio::test]
    async fn few_reads_are_their_callers_own() {
        let server = Server::busy();
        server.reads.running.store(0, Ordering::SeqCst);
        let mut all: Vec<_> = (0..FEW + 3).map(|_| Box::pin(server.read())).collect();
        for one in &mut all {
            begin(one).await;
        }
        assert_eq!(server.begun(), FEW + 1);
        server.gate.add_permits(FEW + 1);
        for one in all {
            one.await.expect("a reply");
        }
        assert!(server.reads.lock().is_empty());
        assert_eq!(server.reads.running.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn who_comes_after_a_change_of_this_process_reads_again() {
        let server = Server::busy();
        let (mut first, mut second) = (Box::pin(server.read()), Box::pin(server.read()));
        begin(&mut first).await;
        begin(&mut second).await;
        server.forget();
        let mut third = Box::pin(server.read());
        begin(&mut third).await;
        assert_eq!(server.begun(), 2);
        server.gate.add_permits(2);
        let replies = tokio::join!(first, second, third);
        assert_eq!(replies.0.expect("a reply"), "0");
        assert_eq!(replies.1.expect("a reply"), "0");
        assert_eq!(replies.2.expect("a reply"), "1");
        assert!(server.reads.lock().is_empty());
    }

    #[tokio::test]
    async fn a_caller_that_leaves_takes_the_reply_from_nobody() {
        let server = Server::busy();
        let (mut first, mut second) = (Box::pin(server.read()), Box::pin(server.read()));
        begin(&mut first).await;
        begin(&mut second).await;
        drop(first);
        server.gate.add_permits(1);
        assert_eq!(second.await.expect("a reply"), "0");
        assert_eq!(server.begun(), 1);
    }

    /// A failure is for the caller that began the read; those who came later share another one.
    #[tokio::test]
    async fn a_read_that_began_before_and_failed_is_no_failure_of_later_callers() {
        let mut server = Server::busy();
        server.fails = true;
        let (mut first, mut second) = (Box::pin(server.read()), Box::pin(server.read()));
        let mut third = Box::pin(server.read());
        begin(&mut first).await;
        begin(&mut second).await;
        begin(&mut third).await;
        server.gate.add_permits(2);
        let replies = tokio::join!(first, second, third);
        assert!(replies.0.is_err_and(|error| error.is_unavailable()));
        assert_eq!(replies.1.expect("a reply"), "1");
        assert_eq!(replies.2.expect("a reply"), "1");
        assert_eq!(server.begun(), 2);
    }
}
