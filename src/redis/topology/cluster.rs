//! A cluster: one connection per primary, and who has which slot.
//!
//! Each primary has a client of its own, so that one that is lost holds up no other, and a reply cannot reach a caller
//! of another server. fred's own cluster client is only for the application's raw commands.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::Future,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{
        Builder,
        config::{Server, ServerConfig},
    },
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{node::Node, slots::Slots};
use crate::{
    error::{Error, Kind},
    redis::connection::{
        breaker::Breaker,
        diagnosis::{Unreached, none_reached},
        failure::classify,
        health::OverallHealth,
        link::{Link, jittered},
    },
};

pub(crate) struct Cluster {
    /// Makes a client of any server of the cluster, once the address is filled in.
    builder: Builder,
    health: Arc<OverallHealth>,
    deadline: Duration,
    /// The servers that the URL named, for when no known one answers.
    seeds: Vec<Server>,
    /// How long one of them may take to tell the map.
    patience: Duration,
    secure: bool,
    map: RwLock<Arc<Map>>,
    refreshing: AtomicBool,
}

#[derive(Debug, Default)]
struct Map {
    nodes: HashMap<Server, Arc<Node>>,
    slots: Slots,
}

impl Cluster {
    /// A cluster that is found through one of `seeds` within `limit`, over TLS if it is `secure`; it has no map yet.
    pub(crate) fn new(
        builder: Builder,
        health: Arc<OverallHealth>,
        deadline: Duration,
        seeds: Vec<Server>,
        limit: Duration,
        secure: bool,
    ) -> Arc<Self> {
        // One share each, and one for the servers that the map names.
        let shares = u32::try_from(seeds.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        Arc::new(Self {
            builder,
            health,
            deadline,
            seeds,
            patience: limit / shares,
            secure,
            map: RwLock::default(),
            refreshing: AtomicBool::new(false),
        })
    }

    /// Reads the map from the first server that answers, and connects to every primary in it.
    ///
    /// The error names each server that did not answer, and why.
    pub(crate) async fn discover(&self) -> Result<(), Error> {
        let mut failures = Vec::new();
        let slots = match self.ask_nodes(&mut failures).await {
            Some(slots) => Some(slots),
            None => self.ask_seeds(&mut failures).await,
        };
        match slots {
            Some(slots) => self.adopt(slots).await,
            None => Err(none_reached(failures, self.secure)),
        }
    }

    /// The server that has `key`.
    pub(crate) fn node(&self, key: &str) -> Option<Arc<Node>> {
        let map = self.map();
        let server = map.slots.owner(key)?;
        map.nodes.get(server).cloned()
    }

    /// The server at an address that another one named.
    pub(crate) fn node_at(&self, address: &str) -> Option<Arc<Node>> {
        let (host, port) = address.rsplit_once(':')?;
        let server = Server::new(host, port.parse().ok()?);
        self.map().nodes.get(&server).cloned()
    }

    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.map().nodes.values().cloned().collect()
    }

    /// The primaries with their addresses.
    pub(crate) fn members(&self) -> Vec<(Server, Arc<Node>)> {
        let map = self.map();
        let members = map.nodes.iter();
        members
            .map(|(server, node)| (server.clone(), Arc::clone(node)))
            .collect()
    }

    /// The primaries that have no connection and that another attempt does not reach either, and why.
    pub(crate) async fn unreached(&self) -> Vec<Unreached> {
        let mut attempts = JoinSet::new();
        for (server, node) in self.members() {
            if !node.client().is_connected() {
                let (builder, patience) = (self.builder_for(&server, true), self.patience);
                attempts.spawn(async move {
                    match greet(&builder).await {
                        Ok(client) => {
                            leave(&client, patience).await;
                            None
                        }
                        Err(error) => Some(Unreached::new(&server, error)),
                    }
                });
            }
        }
        attempts.join_all().await.into_iter().flatten().collect()
    }

    /// Reads the map anew in the background, unless that is being done already; goes on while a server is down, since a
    /// replica may take its place.
    pub(crate) fn refresh(self: &Arc<Self>) {
        if !self.refreshing.swap(true, Ordering::AcqRel) {
            tokio::spawn(refresh(Arc::downgrade(self)));
        }
    }

    fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks the primaries that answer, in turn.
    async fn ask_nodes(&self, failures: &mut Vec<Unreached>) -> Option<Slots> {
        for (server, node) in self.members() {
            if node.is_down() {
                continue;
            }
            match Slots::ask(&node.client(), self.deadline, &server.host).await {
                Ok(slots) => return Some(slots),
                Err(error) => failures.push(Unreached::new(&server, error)),
            }
        }
        None
    }

    /// Asks the servers that the URL named, in turn.
    async fn ask_seeds(&self, failures: &mut Vec<Unreached>) -> Option<Slots> {
        for seed in &self.seeds {
            match self.ask_seed(seed).await {
                Ok(slots) => return Some(slots),
                Err(error) => failures.push(Unreached::new(seed, error)),
            }
        }
        None
    }

    async fn ask_seed(&self, seed: &Server) -> Result<Slots, Error> {
        let client = greet(&self.builder_for(seed, true)).await?;
        let slots = Slots::ask(&client, self.deadline, &seed.host).await;
        leave(&client, self.patience).await;
        slots
    }

    /// Puts a new map in the place of the old one. Servers that are in both keep their connections.
    async fn adopt(&self, slots: Slots) -> Result<(), Error> {
        let old = self.map();
        let mut map = Map {
            nodes: HashMap::new(),
            slots,
        };
        let mut connecting = JoinSet::new();
        let servers: HashSet<&Server> = map.slots.servers().collect();
        for server in servers {
            match old.nodes.get(server) {
                Some(node) => {
                    map.nodes.insert(server.clone(), Arc::clone(node));
                }
                None => {
                    connecting.spawn(self.connect(server.clone()));
                }
            }
        }
        // All at once: one that does not answer holds up no other.
        while let Some(joined) = connecting.join_next().await {
            let (server, node) = joined.map_err(|error| {
                Error::new(Kind::Unavailable, "no connection to redis").caused_by(error)
            })??;
            map.nodes.insert(server, node);
        }
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
        Ok(())
    }

    /// Connects to a primary, in the background if it takes longer than the deadline.
    fn connect(
        &self,
        server: Server,
    ) -> impl Future<Output = Result<(Server, Arc<Node>), Error>> + Send + use<> {
        let breaker = Arc::new(Breaker::new(&self.health));
        let builder = self.builder_for(&server, false);
        let deadline = self.deadline;
        async move {
            let link = Link::connect(builder, Arc::clone(&breaker), deadline).await?;
            Ok((server, Arc::new(Node::new(vec![link], breaker))))
        }
    }

    fn builder_for(&self, server: &Server, impatient: bool) -> Builder {
        let mut builder = self.builder.clone();
        builder.with_config(|config| {
            config.server = ServerConfig::Centralized {
                server: server.clone(),
            };
            config.fail_fast = impatient;
        });
        if impatient {
            let step = self.patience / 2;
            builder.with_connection_config(|config| {
                config.connection_timeout = config.connection_timeout.min(step);
                config.internal_command_timeout = config.internal_command_timeout.min(step);
            });
        }
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

/// A client of one server that is connected, or why it is not.
async fn greet(builder: &Builder) -> Result<Client, Error> {
    let client = builder.build().map_err(classify)?;
    client.init().await.map_err(classify)?;
    Ok(client)
}

/// Closes a connection. What it was made for matters, not how it ends.
async fn leave(client: &Client, patience: Duration) {
    let _ = timeout(patience, client.quit()).await;
}

async fn refresh(cluster: Weak<Cluster>) {
    while let Some(cluster) = cluster.upgrade() {
        let found = cluster.discover().await;
        if let Err(error) = &found {
            tracing::debug!(target: "tower_fred::redis", %error, "no cluster map");
        }
        if found.is_ok() && !cluster.nodes().iter().any(|node| node.is_down()) {
            cluster.refreshing.store(false, Ordering::Release);
            return;
        }
        drop(cluster);
        sleep(jittered(REFRESH_INTERVAL)).await;
    }
}

const REFRESH_INTERVAL: Duration = Duration::from_millis(100);
