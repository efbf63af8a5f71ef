//! The handle itself.

use std::{any::Any, fmt, future::Future, sync::Arc, time::Duration};

use fred::{
    clients::{Client, WithOptions},
    error::Error as FredError,
    interfaces::ClientLike,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    task::coop,
};

use super::shared_values::SharedValues;
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
/// Cloning bumps one reference count; all clones share the connection. When the last clone of a handle that made its
/// own connection is dropped, the connection closes, also for clients taken from [`client`](Self::client).
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
    options: Arc<CommandOptions>,
}

struct Inner {
    deployment: Deployment,
    health: Arc<OverallHealth>,
    namespace: Box<str>,
    in_flight: Semaphore,
    shared: SharedValues,
}

impl Redis {
    /// A fred client to run any command with: a clone of the shared one, or of the next one of a pool.
    ///
    /// Do not use blocking commands, transactions or `SUBSCRIBE` on it: they hold up every layer. Take
    /// `client().clone_new()` for those, which makes a connection of its own.
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

    /// The same handle with another deadline: for a layer that may wait longer, or must not wait as long, than the others.
    ///
    /// All else is shared, the health too: commands that often miss a deadline that is too short are taken for an outage.
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

    /// Whether commands reach Redis, now: as the last commands and probes found, without asking.
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

    /// The same as a channel that wakes its receivers with each change, for a readiness probe or a metric.
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.inner.health.watch()
    }

    /// Asks the server for a sign of life.
    ///
    /// # Errors
    ///
    /// An [unavailable](Error::is_unavailable) error when none comes within the deadline.
    pub async fn ping(&self) -> Result<(), Error> {
        fairly(async {
            let _permit = self.permit()?;
            self.inner.deployment.ping(&self.options).await
        })
        .await
    }

    /// Whether keys may be on different servers: one script then has only keys of one hash tag.
    #[cfg(any(feature = "rate-limit", feature = "session"))]
    pub(crate) fn is_cluster(&self) -> bool {
        self.client().is_clustered()
    }

    /// Whether a key of one is the same key in the other, as far as can be told: the same handle, or one with the same
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

    /// The value of type `T` that belongs to this handle and all its clones; made if nobody holds one.
    pub(crate) fn shared<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        self.inner.shared.get_or_make(make)
    }

    pub(crate) fn new(
        deployment: Deployment,
        health: Arc<OverallHealth>,
        namespace: &str,
        max_in_flight: usize,
        deadline: Duration,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                deployment,
                health,
                namespace: namespace.into(),
                in_flight: Semaphore::new(max_in_flight),
                shared: SharedValues::default(),
            }),
            options: Arc::new(CommandOptions::new(deadline)),
        }
    }

    pub(crate) fn deployment(&self) -> &Deployment {
        &self.inner.deployment
    }

    /// Runs one command on the server that has `key`: bounded in number and in time, its outcome noted, its error made
    /// ours. The client carries our deadline, one attempt and no redirection, whoever made it.
    pub(crate) async fn send<T, F>(
        &self,
        key: &str,
        command: impl Fn(WithOptions<Client>, Arc<ServerClock>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, FredError>>,
    {
        fairly(async {
            let _permit = self.permit()?;
            let deployment = &self.inner.deployment;
            deployment.send(key, &self.options, command).await
        })
        .await
    }

    /// Makes sure that replies about `key` are to what was asked: called when one could not be believed, which may also
    /// be because of what is stored.
    #[cfg(feature = "cache")]
    pub(crate) fn doubt(&self, key: &str) {
        self.inner.deployment.verify(key);
    }

    /// One of the places for commands in flight; never waits for it.
    fn permit(&self) -> Result<SemaphorePermit<'_>, Error> {
        let permit = self.inner.in_flight.try_acquire();
        permit.map_err(|_| Error::new(Kind::Unavailable, "too many redis commands in flight"))
    }
}

/// Lets other tasks run after a failure, which may have waited for nothing: a caller that asks again and again would have
/// the thread for itself.
async fn fairly<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
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
