//! A cluster: its primaries, a connection to each of them, and which slots each has.
//!
//! Each primary has a client of its own. So a lost connection delays no command for another server, and a reply cannot reach
//! a caller of another server. fred's cluster client is only for the application's raw commands.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};

use fred::{
    interfaces::ClientLike,
    types::{
        Builder,
        config::{Server, ServerConfig},
    },
};
use tokio::time::{sleep, timeout};

use super::{node::Node, slots::Slots};
use crate::{
    error::Error,
    redis::connection::{
        breaker::Breaker,
        fred_error::classify,
        health::OverallHealth,
        link::{Link, jittered},
        settings::Timing,
        task::{Task, Turn},
    },
};

pub(crate) struct Cluster {
    /// Makes a client of one server of the cluster, after its address is filled in.
    builder: Builder,
    health: Arc<OverallHealth>,
    timing: Timing,
    /// The servers that the URL named, for when no known one answers.
    seeds: Vec<Server>,
    map: RwLock<Arc<Map>>,
    refreshing: Task,
    /// The time after a refresh that a refusal asked for.
    calm: Task,
}

#[derive(Debug, Default)]
struct Map {
    nodes: HashMap<Server, Arc<Node>>,
    slots: Slots,
}

impl Cluster {
    /// A cluster that [`discover`](Self::discover) will find through one of `seeds`.
    pub(crate) fn new(
        builder: Builder,
        health: Arc<OverallHealth>,
        timing: Timing,
        seeds: Vec<Server>,
    ) -> Arc<Self> {
        Arc::new(Self {
            builder,
            health,
            timing,
            seeds,
            map: RwLock::default(),
            refreshing: Task::default(),
            calm: Task::default(),
        })
    }

    /// Asks the servers in turn for the slots until one answers, and connects to every primary.
    pub(crate) async fn discover(&self) -> Result<(), Error> {
        let slots = match self.ask_nodes().await {
            Some(slots) => slots,
            None => self.ask_seeds().await?,
        };
        self.adopt(slots).await
    }

    /// The server that has `key`.
    pub(crate) fn node(&self, key: &str) -> Option<Arc<Node>> {
        let map = self.map();
        let server = map.slots.owner(key)?;
        map.nodes.get(server).cloned()
    }

    /// The server at the address in a MOVED error.
    pub(crate) fn node_at(&self, address: &str) -> Option<Arc<Node>> {
        let (host, port) = address.rsplit_once(':')?;
        let server = Server::new(host, port.parse().ok()?);
        self.map().nodes.get(&server).cloned()
    }

    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.map().nodes.values().cloned().collect()
    }

    /// Asks for the slots again in the background, unless a task does already. It repeats this while a server is down,
    /// since a replica may take its place.
    pub(crate) fn refresh(self: &Arc<Self>) {
        if let Some(turn) = self.refreshing.begin() {
            tokio::spawn(refresh(turn, Arc::downgrade(self)));
        }
    }

    /// The same, every 250 ms at most: called when a server said that the cluster is down, as it may to every command.
    pub(crate) fn refresh_calmly(self: &Arc<Self>) {
        if let Some(turn) = self.calm.begin() {
            self.refresh();
            tokio::spawn(async move {
                sleep(CALM).await;
                drop(turn);
            });
        }
    }

    fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks the primaries that are not down.
    async fn ask_nodes(&self) -> Option<Slots> {
        let map = self.map();
        for (server, node) in map.nodes.iter().filter(|(_, node)| !node.is_down()) {
            match Slots::ask(&node.client(), self.timing.deadline, &server.host).await {
                Ok(slots) => return Some(slots),
                Err(error) => {
                    tracing::debug!(target: "tower_fred::redis", %error, %server, "a server did not tell the slots of the cluster");
                }
            }
        }
        None
    }

    async fn ask_seeds(&self) -> Result<Slots, Error> {
        let mut failure = Error::config("a cluster needs a server");
        for seed in &self.seeds {
            match self.ask_seed(seed).await {
                Ok(slots) => return Ok(slots),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn ask_seed(&self, seed: &Server) -> Result<Slots, Error> {
        let client = self.builder_for(seed, true).build().map_err(classify)?;
        client.init().await.map_err(classify)?;
        let slots = Slots::ask(&client, self.timing.deadline, &seed.host).await;
        // The answer matters, not how the connection ends.
        let _ = timeout(self.timing.deadline, client.quit()).await;
        slots
    }

    /// Replaces the map. A server that was in the old one keeps its connection.
    async fn adopt(&self, slots: Slots) -> Result<(), Error> {
        let old = self.map();
        let mut map = Map {
            nodes: HashMap::new(),
            slots,
        };
        for server in map.slots.servers() {
            if map.nodes.contains_key(server) {
                continue;
            }
            let node = match old.nodes.get(server) {
                Some(node) => Arc::clone(node),
                None => self.connect(server).await?,
            };
            map.nodes.insert(server.clone(), node);
        }
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
        Ok(())
    }

    async fn connect(&self, server: &Server) -> Result<Arc<Node>, Error> {
        let breaker = Arc::new(Breaker::new(&self.health));
        let builder = self.builder_for(server, false);
        let link = Link::connect(builder, Arc::clone(&breaker), self.timing).await?;
        Ok(Arc::new(Node::new(vec![link], breaker)))
    }

    fn builder_for(&self, server: &Server, fail_fast: bool) -> Builder {
        let mut builder = self.builder.clone();
        builder.with_config(|config| {
            config.server = ServerConfig::Centralized {
                server: server.clone(),
            };
            config.fail_fast = fail_fast;
        });
        builder
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("map", &self.map())
            .finish_non_exhaustive()
    }
}

async fn refresh(turn: Turn, cluster: Weak<Cluster>) {
    while let Some(cluster) = cluster.upgrade() {
        let found = cluster.discover().await;
        if let Err(error) = &found {
            tracing::debug!(target: "tower_fred::redis", %error, "no server told the slots of the cluster");
        }
        if found.is_ok() && !cluster.nodes().iter().any(|node| node.is_down()) {
            drop(turn);
            return;
        }
        drop(cluster);
        sleep(jittered(REFRESH_INTERVAL)).await;
    }
}

const REFRESH_INTERVAL: Duration = Duration::from_millis(100);
const CALM: Duration = Duration::from_millis(250);
