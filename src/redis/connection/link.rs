//! One connection: its fred client, and how it is made again when it is lost.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fred::{
    clients::Client,
    error::{Error as FredError, ErrorKind},
    interfaces::ClientLike,
    types::{Builder, ConnectHandle},
};
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{
    breaker::Breaker,
    fred_error::{classify, is_unanswered},
};
use crate::error::Error;

/// A fred client that is replaced when its task ends.
pub(crate) struct Link {
    current: RwLock<Current>,
    /// Makes another client; `None` for a client of the application, which is not replaced.
    builder: Option<Builder>,
    breaker: Arc<Breaker>,
    deadline: Duration,
    /// Whether a background task repairs the connection.
    recovering: AtomicBool,
}

struct Current {
    client: Client,
    /// fred's task, when this crate started it.
    router: Option<AbortHandle>,
}

impl Link {
    /// A client of the application, which also ends it.
    pub(crate) fn shared(client: Client, breaker: Arc<Breaker>, deadline: Duration) -> Arc<Self> {
        Arc::new(Self {
            current: RwLock::new(Current {
                client,
                router: None,
            }),
            builder: None,
            breaker,
            deadline,
            recovering: AtomicBool::new(false),
        })
    }

    /// A client of ours. When its task ends, it is replaced.
    pub(crate) fn owned(
        client: Client,
        router: ConnectHandle,
        builder: Builder,
        breaker: Arc<Breaker>,
        deadline: Duration,
    ) -> Arc<Self> {
        let current = Current {
            client,
            router: Some(router.abort_handle()),
        };
        let link = Arc::new(Self {
            current: RwLock::new(current),
            builder: Some(builder),
            breaker,
            deadline,
            recovering: AtomicBool::new(false),
        });
        tokio::spawn(watch(Arc::downgrade(&link), router));
        link
    }

    /// Makes a client and waits for its connection until the deadline; after that it connects in the background.
    pub(crate) async fn connect(
        builder: Builder,
        breaker: Arc<Breaker>,
        deadline: Duration,
    ) -> Result<Arc<Self>, Error> {
        let client = builder.build().map_err(classify)?;
        let router = client.connect();
        // No error here when the server does not answer: the breaker will count that.
        let _ = timeout(deadline, client.wait_for_connect()).await;
        Ok(Self::owned(client, router, builder, breaker, deadline))
    }

    pub(crate) fn client(&self) -> Client {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .client
            .clone()
    }

    /// Probes the server in the background until it answers. Called when a command got no answer.
    ///
    /// fred notices that a connection closed. It does not notice that an open connection gives no answers, as long as
    /// commands are written to it.
    pub(crate) fn probe(self: &Arc<Self>) {
        if !self.recovering.swap(true, Ordering::AcqRel) {
            tokio::spawn(recover(Arc::downgrade(self)));
        }
    }

    /// Makes fred close its connection and connect again.
    pub(crate) async fn reconnect(&self) {
        let _ = timeout(RECONNECT_TIMEOUT, self.client().force_reconnection()).await;
    }

    /// Connects again in the background. Called when a reply answered another command.
    pub(crate) fn restart(self: &Arc<Self>) {
        if !self.recovering.swap(true, Ordering::AcqRel) {
            let link = Arc::clone(self);
            tokio::spawn(async move {
                link.reconnect().await;
                link.recovering.store(false, Ordering::Release);
            });
        }
    }

    /// Tests in the background whether replies answer the commands that were sent, and connects again if they do not.
    ///
    /// Called when a reply may have answered another command, or the stored value is not of this crate.
    pub(crate) fn verify(self: &Arc<Self>) {
        if !self.recovering.swap(true, Ordering::AcqRel) {
            let link = Arc::clone(self);
            tokio::spawn(async move {
                if !link.is_in_step().await {
                    tracing::error!(target: "tower_fred::redis", "replies answer other commands: connecting again");
                    link.reconnect().await;
                }
                link.recovering.store(false, Ordering::Release);
            });
        }
    }

    async fn is_in_step(&self) -> bool {
        let word = random().to_string();
        let client = self.client();
        let echo = client.ping::<String>(Some(word.clone()));
        match timeout(self.deadline.min(PROBE_TIMEOUT), echo).await {
            Ok(Ok(answer)) => answer == word,
            // An error is an answer too: the user may lack the permission for PING.
            Ok(Err(error)) => !is_unanswered(&error) && *error.kind() != ErrorKind::Parse,
            Err(_) => false,
        }
    }

    /// Replaces a client whose task ended.
    fn replace(self: &Arc<Self>, builder: &Builder) -> Result<(), FredError> {
        let client = builder.build()?;
        let router = client.connect();
        tracing::warn!(target: "tower_fred::redis", "replaced a fred client whose task had ended");
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Current {
            client,
            router: Some(router.abort_handle()),
        };
        drop(current);
        tokio::spawn(watch(Arc::downgrade(self), router));
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // fred's task and socket outlive the client unless they are ended.
        let current = self
            .current
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(router) = &current.router {
            router.abort();
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// Waits until a client's task ends, which fred never restarts, and replaces the client.
async fn watch(link: Weak<Link>, router: ConnectHandle) {
    let _ = router.await;
    // A pause, in case the next one ends at once too.
    sleep(jittered(PROBE_INTERVAL)).await;
    let Some(link) = link.upgrade() else { return };
    if let Some(builder) = &link.builder {
        if let Err(error) = link.replace(builder) {
            let error = classify(error);
            tracing::error!(target: "tower_fred::redis", %error, "cannot replace a fred client whose task had ended");
        }
    }
}

/// Probes until there is an answer. Makes fred connect again when a connection is open and gives none.
async fn recover(link: Weak<Link>) {
    while let Some(link) = link.upgrade() {
        let client = link.client();
        let answer = timeout(link.deadline.min(PROBE_TIMEOUT), client.ping::<()>(None)).await;
        let silence = || FredError::new(ErrorKind::Timeout, "no answer to a probe");
        let error = match answer.unwrap_or_else(|_| Err(silence())) {
            // Any error is an answer but the refusal of the credentials: the user may lack the permission for PING.
            Err(error) if is_unanswered(&error) || *error.kind() == ErrorKind::Auth => error,
            _ => {
                link.recovering.store(false, Ordering::Release);
                link.breaker.answered();
                return;
            }
        };
        link.breaker.unanswered(&classify(error.clone()));
        // fred counts as connected until an attempt to reconnect has failed.
        if *error.kind() == ErrorKind::Timeout && client.is_connected() {
            tracing::debug!(target: "tower_fred::redis", "no answer on an open connection: connecting again");
            link.reconnect().await;
        }
        drop(link);
        sleep(jittered(PROBE_INTERVAL)).await;
    }
}

/// A random time between 0.5 and 1.5 of `interval`, so that many processes do not reconnect at the same moment.
pub(crate) fn jittered(interval: Duration) -> Duration {
    interval / 2 + interval.mul_f64(f64::from(random()) / f64::from(u32::MAX))
}

/// A random number that need not be hard to guess.
fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as u32
}

/// A probe waits no longer than this, also when the deadline of commands is longer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(1);
