//! The handle itself.

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use fred::{
    clients::{Client, Pool, WithOptions},
    error::Error as FredError,
    interfaces::ClientLike,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    task::coop,
};

use super::shared::Shelf;
use crate::error::{Error, Kind};
use crate::redis::{
    connection::{
        clock::Clock,
        health::{Board, Health},
    },
    options::{Bounds, RedisBuilder, check_deadline},
    topology::{
        cluster::Cluster,
        node::{Failure, Node},
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
    pub(crate) inner: Arc<Inner>,
    bounds: Arc<Bounds>,
}

pub(crate) struct Inner {
    pub(crate) deployment: Deployment,
    board: Arc<Board>,
    namespace: Box<str>,
    in_flight: Semaphore,
    pub(crate) shelf: Shelf,
}

/// Where commands go.
#[derive(Debug)]
pub(crate) enum Deployment {
    /// One server, found directly or through sentinels, or whatever a client of the application leads to.
    Single(Node),
    /// A cluster that this crate finds its way in, and a client of it for raw commands.
    Cluster(Arc<Cluster>, Node),
}

impl Redis {
    /// Connects to the server at `url`, with the default settings. See the [module](crate::redis) for the URLs.
    ///
    /// # Errors
    ///
    /// An error that says what is wrong when the URL is invalid, nothing answers, the credentials are refused or the
    /// server is too old (Redis 7.0 or Valkey 7.2 is the oldest that works); always within five seconds.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().connect(url).await
    }

    /// Settings other than the default: namespace, deadline, pool size, a client of your own.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::new()
    }

    /// A fred client to run any command with: a clone of the shared one, or of the next one of a pool.
    ///
    /// Do not use blocking commands, transactions or `SUBSCRIBE` on it: they hold up every layer. Take
    /// `client().clone_new()` for those, which makes a connection of its own.
    pub fn client(&self) -> Client {
        self.raw().client()
    }

    /// What every key of this crate begins with.
    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }

    /// How long a command may take, including the wait for a connection.
    pub fn deadline(&self) -> Duration {
        self.bounds.deadline
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
            bounds: Arc::new(Bounds::new(deadline)),
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
        self.inner.board.health()
    }

    /// Asks the server for a sign of life.
    ///
    /// # Errors
    ///
    /// An [unavailable](Error::is_unavailable) error when none comes within the deadline.
    pub async fn ping(&self) -> Result<(), Error> {
        fairly(self.ping_all()).await
    }

    async fn ping_all(&self) -> Result<(), Error> {
        let _permit = self.permit()?;
        let ping = |client: WithOptions<Client>, _| async move { client.ping(None).await };
        match &self.inner.deployment {
            Deployment::Single(node) => node.send(&self.bounds, ping).await?,
            Deployment::Cluster(cluster, _) => {
                for node in cluster.nodes() {
                    node.send(&self.bounds, ping).await?;
                }
            }
        }
        Ok(())
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

    pub(crate) fn new(deployment: Deployment, board: Arc<Board>, builder: RedisBuilder) -> Self {
        Self {
            inner: Arc::new(Inner {
                deployment,
                board,
                in_flight: Semaphore::new(builder.max_in_flight),
                namespace: builder.namespace.into(),
                shelf: Shelf::default(),
            }),
            bounds: Arc::new(Bounds::new(builder.deadline)),
        }
    }

    /// Runs one command on the server that has `key`: bounded in number and in time, its outcome noted, its error made
    /// ours. The client carries our deadline, one attempt and no redirection, whoever made it.
    pub(crate) async fn send<T, F>(
        &self,
        key: &str,
        command: impl Fn(WithOptions<Client>, Arc<Clock>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, FredError>>,
    {
        fairly(self.route(key, command)).await
    }

    async fn route<T, F>(
        &self,
        key: &str,
        command: impl Fn(WithOptions<Client>, Arc<Clock>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, FredError>>,
    {
        let _permit = self.permit()?;
        let cluster = match &self.inner.deployment {
            Deployment::Single(node) => return Ok(node.send(&self.bounds, command).await?),
            Deployment::Cluster(cluster, _) => cluster,
        };
        let Some(node) = cluster.node(key) else {
            cluster.refresh();
            return Err(Error::new(
                Kind::Unavailable,
                "no server of the cluster has the key's slot",
            ));
        };
        let begun = Instant::now();
        match node.send(&self.bounds, &command).await {
            Err(Failure::Moved(address, error)) => {
                cluster.refresh();
                // The deadline is for both servers together.
                let left = self.bounds.deadline.saturating_sub(begun.elapsed());
                match cluster.node_at(&address) {
                    Some(node) if !left.is_zero() => {
                        Ok(node.send(&Bounds::new(left), command).await?)
                    }
                    _ => Err(error),
                }
            }
            Err(failure @ Failure::Unanswered(_)) => {
                cluster.refresh();
                Err(failure.into())
            }
            result => Ok(result?),
        }
    }

    /// Makes sure that replies about `key` are to what was asked: called when one could not be believed, which may also
    /// be because of what is stored.
    #[cfg(feature = "cache")]
    pub(crate) fn doubt(&self, key: &str) {
        match &self.inner.deployment {
            Deployment::Single(node) => node.verify(),
            Deployment::Cluster(cluster, _) => {
                if let Some(node) = cluster.node(key) {
                    node.verify();
                }
            }
        }
    }

    /// One of the places for commands in flight; never waits for it.
    fn permit(&self) -> Result<SemaphorePermit<'_>, Error> {
        let permit = self.inner.in_flight.try_acquire();
        permit.map_err(|_| Error::new(Kind::Unavailable, "too many redis commands in flight"))
    }

    fn connections(&self) -> usize {
        match &self.inner.deployment {
            Deployment::Single(node) => node.connections(),
            Deployment::Cluster(cluster, _) => {
                cluster.nodes().iter().map(|node| node.connections()).sum()
            }
        }
    }

    fn raw(&self) -> &Node {
        match &self.inner.deployment {
            Deployment::Single(node) | Deployment::Cluster(_, node) => node,
        }
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

/// Shares a client that the application made, under the default namespace and deadline.
///
/// Settings of the client that are unsafe are logged, one warning each; to have them refused instead, use
/// [`RedisBuilder::client`].
impl From<Client> for Redis {
    fn from(client: Client) -> Self {
        RedisBuilder::new().share(vec![client])
    }
}

/// Shares a pool that the application made, as [`From<Client>`](#impl-From<Client>-for-Redis) does.
impl From<Pool> for Redis {
    fn from(pool: Pool) -> Self {
        RedisBuilder::new().share(pool.clients().to_vec())
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("namespace", &self.inner.namespace)
            .field("deadline", &self.bounds.deadline)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

const _: () = {
    const fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Redis>();
};
