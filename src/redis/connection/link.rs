//! One connection: its fred client, and how it is made again when it is lost.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock, Weak},
    time::{Duration, Instant},
};

use fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{Builder, ConnectHandle},
};
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{breaker::Breaker, fred_error::classify, settings::Timing, task::Task};
use crate::{
    error::Error,
    log_pace::{LogPace, uptime},
};

/// A fred client that is replaced when its task ends.
pub(crate) struct Link {
    pub(crate) current: RwLock<Current>,
    /// What makes the client anew; nothing for a client of the application.
    builder: Option<Builder>,
    pub(super) breaker: Arc<Breaker>,
    pub(crate) deadline: Duration,
    heartbeat: Duration,
    /// Looking after the connection.
    pub(super) recovery: Task,
}

pub(crate) struct Current {
    client: Client,
    /// fred's task, when this crate started it.
    router: Option<AbortHandle>,
    /// Runs the commands while `client` is on a server that is no primary.
    pub(crate) stand_in: Option<Client>,
    /// When `client` took the place of another.
    made_at: Option<Instant>,
}

impl Link {
    /// A client of the application, which made it and ends it.
    pub(crate) fn shared(client: Client, breaker: Arc<Breaker>, timing: Timing) -> Arc<Self> {
        Arc::new(Self {
            current: RwLock::new(Current {
                client,
                router: None,
                stand_in: None,
                made_at: None,
            }),
            builder: None,
            breaker,
            deadline: timing.deadline,
            heartbeat: timing.heartbeat,
            recovery: Task::default(),
        })
    }

    /// A client of ours. When its task ends, it is replaced.
    pub(crate) fn owned(
        client: Client,
        router: ConnectHandle,
        builder: Builder,
        breaker: Arc<Breaker>,
        timing: Timing,
    ) -> Arc<Self> {
        let current = Current {
            client,
            router: Some(router.abort_handle()),
            stand_in: None,
            made_at: None,
        };
        let link = Arc::new(Self {
            current: RwLock::new(current),
            builder: Some(builder),
            breaker,
            deadline: timing.deadline,
            heartbeat: timing.heartbeat,
            recovery: Task::default(),
        });
        tokio::spawn(watch(Arc::downgrade(&link), router));
        link
    }

    /// Makes a client and waits for its connection until the deadline; after that it connects in the background.
    pub(crate) async fn connect(
        builder: Builder,
        breaker: Arc<Breaker>,
        timing: Timing,
    ) -> Result<Arc<Self>, Error> {
        let client = builder.build().map_err(classify)?;
        let router = client.connect();
        // A server that is away is for the breaker to find out.
        let _ = timeout(timing.deadline, client.wait_for_connect()).await;
        Ok(Self::owned(client, router, builder, breaker, timing))
    }

    /// The client that runs commands now.
    pub(crate) fn client(&self) -> Client {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.stand_in.as_ref().unwrap_or(&current.client).clone()
    }

    /// The client that stays, for those who keep it.
    pub(crate) fn lasting_client(self: &Arc<Self>) -> Client {
        self.revive();
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.client.clone()
    }

    /// Has fred give up its connection and find the server again.
    /// True when it has.
    pub(crate) async fn reconnect(&self) -> bool {
        reconnect(&self.client()).await
    }

    /// Waits until a client that was made anew is connected, for `limit` at most: called when a command was not sent. True
    /// when it is worth sending it again.
    pub(crate) async fn renew(self: &Arc<Self>, limit: Duration) -> bool {
        if !self.revive() && self.has_ended() {
            sleep(REVIVAL_PAUSE.min(limit)).await;
            self.revive();
        }
        let (client, is_new) = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            let is_new = current
                .made_at
                .is_some_and(|at| at.elapsed() < CONNECT_TIME);
            (current.client.clone(), is_new)
        };
        is_new && matches!(timeout(limit, client.wait_for_connect()).await, Ok(Ok(())))
    }

    /// Makes a client anew whose task ended, as it does together with its runtime. False when that was not needed, or was
    /// done just before.
    pub(super) fn revive(self: &Arc<Self>) -> bool {
        let is_due = |current: &Current| {
            let is_new = current
                .made_at
                .is_some_and(|at| at.elapsed() < REVIVAL_PAUSE);
            current.has_ended() && !is_new
        };
        self.has_ended() && self.replace(is_due)
    }

    fn has_ended(&self) -> bool {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.has_ended()
    }

    /// Makes a client anew whose task does not do what it is told: it may wait for a write that never ends, or belong to a
    /// runtime that stands still.
    pub(super) fn replace_stuck(self: &Arc<Self>) {
        self.replace(|_| true);
    }

    fn replace(self: &Arc<Self>, is_due: impl Fn(&Current) -> bool) -> bool {
        let Some(builder) = &self.builder else {
            return false;
        };
        let client = match builder.build() {
            Ok(client) => client,
            Err(error) => {
                let error = classify(error);
                tracing::error!(target: "tower_fred::redis", %error, "cannot replace a redis client that had ended");
                return false;
            }
        };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have been here first.
        if !is_due(&current) {
            return false;
        }
        let router = client.connect();
        if let Some(old) = current.router.replace(router.abort_handle()) {
            old.abort();
        }
        current.client = client;
        current.made_at = Some(Instant::now());
        drop(current);
        static PACE: LogPace = LogPace::new();
        if let Some(omitted) = PACE.admit(uptime()) {
            tracing::warn!(target: "tower_fred::redis", omitted, "replaced a redis client that had ended");
        }
        tokio::spawn(watch(Arc::downgrade(self), router));
        true
    }
}

impl Current {
    fn has_ended(&self) -> bool {
        self.router.as_ref().is_some_and(AbortHandle::is_finished)
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

/// Has a client give up its connection and find the server again.
pub(crate) async fn reconnect(client: &Client) -> bool {
    let order = client.force_reconnection();
    matches!(timeout(RECONNECT_TIMEOUT, order).await, Ok(Ok(())))
}

/// Waits for the end of a client's task, which fred never restarts, and puts a new client in its place. Until then a
/// `PING` now and then keeps the connection open.
async fn watch(link: Weak<Link>, mut router: ConnectHandle) {
    while let Some(heartbeat) = link.upgrade().map(|link| link.heartbeat) {
        if timeout(heartbeat, &mut router).await.is_ok() {
            // A pause, should the new one end at once as well.
            sleep(jittered(WATCH_PAUSE)).await;
            if let Some(link) = link.upgrade() {
                link.revive();
            }
            return;
        }
        let Some(client) = link.upgrade().map(|link| link.lasting_client()) else {
            return;
        };
        // Whether there is an answer is for commands to find out; fred's own timeout ends the wait.
        let _ = client.ping::<()>(None).await;
    }
}

/// A random time between 0.5 and 1.5 of `interval`, so that many processes do not reconnect at the same moment.
pub(crate) fn jittered(interval: Duration) -> Duration {
    interval / 2 + interval.mul_f64(f64::from(chance()) / f64::from(u32::MAX))
}

/// Any number, which nobody has to be unable to guess.
pub(super) fn chance() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as u32
}

const RECONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a client lives at least before it is made anew.
const REVIVAL_PAUSE: Duration = Duration::from_millis(10);
const WATCH_PAUSE: Duration = Duration::from_millis(100);
/// For how long commands wait for the first connection of a client that was made anew.
const CONNECT_TIME: Duration = Duration::from_secs(1);
