//! The handle [`Redis`].

#[cfg(feature = "session")]
use std::collections::HashMap;
use std::{any::Any, fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use fred::{
    clients::{Client, WithOptions},
    error::Error as FredError,
    interfaces::ClientLike,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    task::coop,
};

#[cfg(feature = "rate-limit")]
use super::joint_runs::{JointRuns, JointScript};
#[cfg(feature = "session")]
use super::loads::Loads;
use super::{reads::Reads, shared_values::SharedValues};
use crate::{
    error::{Error, Kind},
    redis::{
        connection::{
            health::{Health, OverallHealth},
            server_clock::ServerClock,
            settings::{CommandOptions, check_deadline},
        },
        topology::deployment::Deployment,
    },
};

/// A shared handle to Redis: a fred client, a namespace and a deadline.
///
/// # Clone
///
/// A clone shares the connection, and copies no data. When the last clone of a handle that made its own connection is
/// dropped, the connection closes, also for clients taken from [`client`](Self::client).
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
    options: Arc<CommandOptions>,
}

struct Inner {
    deployment: Arc<Deployment>,
    health: Arc<OverallHealth>,
    namespace: Box<str>,
    in_flight: Semaphore,
    reads: Reads,
    #[cfg(feature = "session")]
    loads: Loads,
    #[cfg(feature = "rate-limit")]
    joint_runs: JointRuns,
    shared: SharedValues,
    #[cfg_attr(not(feature = "cache"), allow(dead_code, reason = "for the purge log"))]
    coherence: Duration,
}

impl Redis {
    /// A fred client to run any command with: a clone of the shared one, or of the next one of a pool.
    ///
    /// Do not use blocking commands, transactions or `SUBSCRIBE` on it: the commands of all layers would wait behind them.
    /// For those, make a client with a connection of its own: `client().clone_new()`.
    pub fn client(&self) -> Client {
        self.inner.deployment.raw_client()
    }

    /// What every key of this crate begins with.
    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }

    /// How long a command may take, including the wait for a connection.
    pub fn deadline(&self) -> Duration {
        self.options.deadline
    }

    /// The same handle with another deadline, for a layer that may wait longer than the others, or not as long.
    ///
    /// Everything else is shared, also the health: if the deadline is so short that five commands in a row miss it, Redis
    /// counts as down.
    ///
    /// ```no_run
    /// # fn example(redis: tower_fred::Redis) -> Result<(), tower_fred::Error> {
    /// use std::time::Duration;
    /// use tower_fred::{CacheLayer, SessionLayer};
    ///
    /// let cache = CacheLayer::new(redis.with_deadline(Duration::from_millis(50))?);
    /// let sessions = SessionLayer::new(redis);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [config](Error::is_config) error when `deadline` is not 1 ms to 1 hour.
    pub fn with_deadline(&self, deadline: Duration) -> Result<Self, Error> {
        check_deadline(deadline)?;
        Ok(Self {
            inner: Arc::clone(&self.inner),
            options: Arc::new(CommandOptions::new(deadline)),
        })
    }

    /// Whether commands reach Redis, as the last commands and probes found. Sends nothing.
    ///
    /// ```
    /// use http::StatusCode;
    /// use tower_fred::{Redis, redis::Health};
    ///
    /// /// For a load balancer that should send requests elsewhere while this process has no Redis.
    /// fn ready(redis: &Redis) -> StatusCode {
    ///     match redis.health() {
    ///         Health::Up | Health::Partial => StatusCode::OK,
    ///         _ => StatusCode::SERVICE_UNAVAILABLE,
    ///     }
    /// }
    /// ```
    pub fn health(&self) -> Health {
        *self.watch_health().borrow()
    }

    /// The [health](Self::health) as a channel that wakes its receivers at each change, for a readiness probe or a metric.
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.inner.health.watch()
    }

    /// Sends `PING` to the server, in a cluster to every primary.
    ///
    /// # Errors
    ///
    /// An [unavailable](Error::is_unavailable) error when a server does not answer within the deadline.
    pub async fn ping(&self) -> Result<(), Error> {
        yield_on_failure(async {
            let _permit = self.permit()?;
            self.inner.deployment.ping(&self.options).await
        })
        .await
    }

    /// Whether keys may be on different servers. If so, all keys of one script have the same hash tag.
    #[cfg(any(feature = "rate-limit", feature = "session"))]
    pub(crate) fn is_cluster(&self) -> bool {
        self.client().is_clustered()
    }

    /// Whether both handles read and write the same keys, as far as the settings tell: they are clones, or have the same
    /// namespace on the same server and database.
    #[cfg(feature = "session")]
    pub(crate) fn has_keys_of(&self, other: &Self) -> bool {
        let place = |redis: &Self| {
            let config = redis.client().client_config();
            (config.server, config.database.unwrap_or(0))
        };
        Arc::ptr_eq(&self.inner, &other.inner)
            || (self.namespace() == other.namespace() && place(self) == place(other))
    }

    /// How old what this process knows of purges may be.
    #[cfg(feature = "cache")]
    pub(crate) fn coherence(&self) -> Duration {
        self.inner.coherence
    }

    /// The value of type `T` that all clones of this handle share; `make` makes it if it is not in use yet.
    pub(crate) fn shared<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        self.inner.shared.get_or_make(make)
    }

    pub(crate) fn new(
        deployment: Deployment,
        health: Arc<OverallHealth>,
        namespace: &str,
        max_in_flight: usize,
        deadline: Duration,
        coherence: Duration,
    ) -> Self {
        let deployment = Arc::new(deployment);
        Self {
            inner: Arc::new(Inner {
                reads: Reads::new(&deployment),
                #[cfg(feature = "session")]
                loads: Loads::new(&deployment),
                #[cfg(feature = "rate-limit")]
                joint_runs: JointRuns::new(&deployment),
                deployment,
                health,
                namespace: namespace.into(),
                in_flight: Semaphore::new(max_in_flight),
                shared: SharedValues::default(),
                coherence,
            }),
            options: Arc::new(CommandOptions::new(deadline)),
        }
    }

    pub(crate) fn deployment(&self) -> &Deployment {
        &self.inner.deployment
    }

    /// Sends one command to the server that has `key`. It fails at once when too many are in flight, and after the deadline.
    ///
    /// The client has the options of this handle: its deadline, one attempt, no redirection.
    pub(crate) async fn send<T, F>(
        &self,
        key: &str,
        command: impl Fn(WithOptions<Client>, Arc<ServerClock>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, FredError>>,
    {
        yield_on_failure(async {
            let _permit = self.permit()?;
            let deployment = &self.inner.deployment;
            deployment.send(key, &self.options, command).await
        })
        .await
    }

    /// Reads a key, together with others that are asked for at the same time.
    pub(super) async fn read(&self, key: &str) -> Result<Option<Bytes>, Error> {
        yield_on_failure(async {
            let _permit = self.permit()?;
            self.inner.reads.get(key, &self.options).await
        })
        .await
    }

    /// Reads the fields of a hash, together with others that are asked for at the same time.
    #[cfg(feature = "session")]
    pub(super) async fn read_hash(&self, key: &str) -> Result<HashMap<String, Bytes>, Error> {
        yield_on_failure(async {
            let _permit = self.permit()?;
            self.inner.loads.get(key, &self.options).await
        })
        .await
    }

    /// Runs `script` on `key`, together with others that are asked for at the same time. The argument after the proof and
    /// the time limit is four doubles, the first of them the caller's own, and text. Gives the first numbers of the reply.
    #[cfg(feature = "rate-limit")]
    pub(crate) async fn run_jointly(
        &self,
        script: &'static JointScript,
        key: &Bytes,
        argument: (&[u8; 32], &[u8]),
    ) -> Result<[f64; 5], Error> {
        yield_on_failure(async {
            let _permit = self.permit()?;
            let Inner { joint_runs, .. } = &*self.inner;
            joint_runs.run(script, key, argument, &self.options).await
        })
        .await
    }

    /// Notes the size of a value that is written: a large one is read alone.
    pub(super) fn note_size(&self, key: &str, value: &Bytes) {
        self.inner.reads.note(key, value);
    }

    /// Tests in the background whether each reply of the server with `key` answers the command that was sent.
    ///
    /// For a value under `key` that this crate did not write: another program may have stored it, or the replies on the
    /// connection may be out of step with the commands.
    #[cfg(feature = "cache")]
    pub(crate) fn doubt(&self, key: &str) {
        self.inner.deployment.verify(key);
    }

    /// Counts one more command in flight, or fails at once when there are too many.
    fn permit(&self) -> Result<SemaphorePermit<'_>, Error> {
        let permit = self.inner.in_flight.try_acquire();
        permit.map_err(|_| Error::new(Kind::Unavailable, "too many redis commands in flight"))
    }
}

/// Yields to other tasks from time to time after a failure. A failure may have waited for nothing, so a caller that tries
/// again in a loop would never let them run.
async fn yield_on_failure<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let result = work.await;
    if result.is_err() {
        coop::consume_budget().await;
    }
    result
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("namespace", &self.inner.namespace)
            .field("deadline", &self.options.deadline)
            .field("connections", &self.inner.deployment.connections())
            .finish_non_exhaustive()
    }
}

const _: () = {
    const fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Redis>();
};
