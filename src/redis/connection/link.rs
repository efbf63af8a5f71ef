//! One connection: the fred client behind it, and how it comes back when it is lost.

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
    failure::{classify, is_unanswered},
};
use crate::error::Error;

/// A client, and the task that drives it when this crate made it.
pub(crate) struct Link {
    current: RwLock<Current>,
    /// What makes the client anew; nothing for a client of the application.
    builder: Option<Builder>,
    breaker: Arc<Breaker>,
    deadline: Duration,
    recovering: AtomicBool,
}

struct Current {
    client: Client,
    router: Option<AbortHandle>,
}

impl Link {
    /// A client of the application, which made it and ends it.
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

    /// A client of ours, whose task is watched: when it ends, the client is made anew.
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

    /// A client of ours that connects in the background if it takes longer than the deadline, or than one second.
    pub(crate) async fn connect(
        builder: Builder,
        breaker: Arc<Breaker>,
        deadline: Duration,
    ) -> Result<Arc<Self>, Error> {
        let client = builder.build().map_err(classify)?;
        let router = client.connect();
        // A server that is away is for the breaker to find out.
        let _ = timeout(deadline.min(PROBE_TIMEOUT), client.wait_for_connect()).await;
        Ok(Self::owned(client, router, builder, breaker, deadline))
    }

    pub(crate) fn client(&self) -> Client {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .client
            .clone()
    }

    /// Looks after the connection in the background, unless that is being done already: called when a command got no
    /// answer.
    ///
    /// fred notices a connection that closed, but not one that is open and dead while it is written to.
    pub(crate) fn suspect(self: &Arc<Self>) {
        if !self.recovering.swap(true, Ordering::AcqRel) {
            tokio::spawn(recover(Arc::downgrade(self)));
        }
    }

    /// Has fred give up its connection and find the server again.
    pub(crate) async fn reconnect(&self) {
        let _ = timeout(RECONNECT_TIMEOUT, self.client().force_reconnection()).await;
    }

    /// The same in the background, unless the connection is being looked after already: called when its replies are out of step.
    pub(crate) fn restart(self: &Arc<Self>) {
        if !self.recovering.swap(true, Ordering::AcqRel) {
            let link = Arc::clone(self);
            tokio::spawn(async move {
                link.reconnect().await;
                link.recovering.store(false, Ordering::Release);
            });
        }
    }

    /// Makes sure in the background that replies are to what was asked, and connects anew when they are not: called when
    /// one may have been to another command, or what is stored is not ours.
    pub(crate) fn verify(self: &Arc<Self>) {
        if !self.recovering.swap(true, Ordering::AcqRel) {
            let link = Arc::clone(self);
            tokio::spawn(async move {
                if !link.is_in_step().await {
                    tracing::error!(target: "tower_fred::redis", "replies are out of step: connecting again");
                    link.reconnect().await;
                }
                link.recovering.store(false, Ordering::Release);
            });
        }
    }

    async fn is_in_step(&self) -> bool {
        let word = chance().to_string();
        let client = self.client();
        let echo = client.ping::<String>(Some(word.clone()));
        match timeout(self.deadline.min(PROBE_TIMEOUT), echo).await {
            Ok(Ok(answer)) => answer == word,
            // The user may not be allowed to ask.
            Ok(Err(error)) => !is_unanswered(&error) && *error.kind() != ErrorKind::Parse,
            Err(_) => false,
        }
    }

    /// Puts a new client in the place of one whose task ended.
    fn replace(self: &Arc<Self>, builder: &Builder) -> Result<(), fred::error::Error> {
        let client = builder.build()?;
        let router = client.connect();
        tracing::warn!(target: "tower_fred::redis", "replaced a redis client that had ended");
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

/// Waits for the end of a client's task, which fred never restarts, and puts a new client in its place.
async fn watch(link: Weak<Link>, router: ConnectHandle) {
    let _ = router.await;
    // A pause, should the new one end at once as well.
    sleep(jittered(PROBE_INTERVAL)).await;
    let Some(link) = link.upgrade() else { return };
    if let Some(builder) = &link.builder {
        if let Err(error) = link.replace(builder) {
            let error = classify(error);
            tracing::error!(target: "tower_fred::redis", %error, "cannot replace a redis client that had ended");
        }
    }
}

/// Probes until there is an answer, and makes fred connect anew when a connection is open and gives none.
async fn recover(link: Weak<Link>) {
    while let Some(link) = link.upgrade() {
        let client = link.client();
        let answer = timeout(link.deadline.min(PROBE_TIMEOUT), client.ping::<()>(None)).await;
        let silence = || FredError::new(ErrorKind::Timeout, "no answer to a probe");
        let error = match answer.unwrap_or_else(|_| Err(silence())) {
            // Wrong credentials apart, an error is an answer too: the user may not be allowed to ask.
            Err(error) if is_unanswered(&error) || *error.kind() == ErrorKind::Auth => error,
            _ => {
                link.recovering.store(false, Ordering::Release);
                link.breaker.answered();
                return;
            }
        };
        link.breaker.unanswered(&classify(error.clone()));
        // fred's state says connected until it has tried in vain to connect again.
        if *error.kind() == ErrorKind::Timeout && client.is_connected() {
            tracing::debug!(target: "tower_fred::redis", "an open connection gives no answer: connecting again");
            link.reconnect().await;
        }
        drop(link);
        sleep(jittered(PROBE_INTERVAL)).await;
    }
}

/// Between half and one and a half of `interval`, so that many processes do not come back in step.
pub(crate) fn jittered(interval: Duration) -> Duration {
    interval / 2 + interval.mul_f64(f64::from(chance()) / f64::from(u32::MAX))
}

/// Any number, which nobody has to be unable to guess.
fn chance() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as u32
}

/// A patient application's deadline is no reason to find out late.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(1);
