//! A cluster: its primaries, a connection to each of them, and which slots each has.
//!
//! Each primary has a client of its own. So a lost connection delays no command for another server, and a reply cannot reach
//! a caller of another server. fred's cluster client is only for the application's raw commands.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fred::{
    interfaces::ClientLike,
    types::{Builder, config::Server},
};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    connector::Connector,
    node::Node,
    slots::{Slots, is_known},
};
use crate::{
    error::{Error, Kind},
    redis::{
        address::diagnosis::{Unreached, none_reached},
        connection::{
            health::OverallHealth,
            link::jittered,
            settings::{Timing, Transport},
            task::{Task, Turn},
        },
    },
};

pub(crate) struct Cluster {
    connector: Connector,
    /// The servers that the URL named, for when no known one answers.
    seeds: Vec<Server>,
    map: RwLock<Arc<Map>>,
    refreshing: Task,
    /// The time after a refresh that a refusal asked for.
    calm: Task,
    /// Held while a server is connected to that no map has named yet.
    joining: Mutex<()>,
    /// Whether it was logged that a server does not know its own address.
    warned: AtomicBool,
}

#[derive(Clone, Debug, Default)]
struct Map {
    nodes: HashMap<Server, Arc<Node>>,
    slots: Slots,
}

impl Cluster {
    /// A cluster that [`discover`](Self::discover) will find through one of `seeds`, within `limit`.
    pub(crate) fn new(
        builder: Builder,
        health: Arc<OverallHealth>,
        timing: Timing,
        seeds: Vec<Server>,
        limit: Duration,
        transport: Transport,
    ) -> Arc<Self> {
        // One share each, and one for the servers that the map names.
        let shares = u32::try_from(seeds.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        Arc::new(Self {
            connector: Connector {
                builder,
                health,
                timing,
                patience: limit / shares,
                transport,
            },
            seeds,
            map: RwLock::default(),
            refreshing: Task::default(),
            calm: Task::default(),
            joining: Mutex::default(),
            warned: AtomicBool::new(false),
        })
    }

    /// Asks the servers in turn for the slots until one answers, and connects to every primary.
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
            None => Err(none_reached(failures, self.connector.transport.is_secure())),
        }
    }

    /// The server that has `key`.
    pub(crate) fn node(&self, key: &str) -> Option<Arc<Node>> {
        let map = self.map();
        let server = map.slots.owner(key)?;
        map.nodes.get(server).cloned()
    }

    /// The server at an address that `asked` named, as in `MOVED 3999 127.0.0.1:6381`; connects to one that is in no map
    /// yet. `None` for what is no address, and where there is no connection within `limit`.
    pub(crate) async fn node_at(
        self: &Arc<Self>,
        address: &str,
        asked: &Arc<Node>,
        limit: Duration,
    ) -> Option<Arc<Node>> {
        let (host, port) = address.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let server = if is_known(host) {
            self.connector.transport.server(host, port, None)
        } else {
            // The one that was asked, at another port. Its connection knows where it is: a newer map may have dropped it.
            let asked = asked.client().client_config().server;
            Server {
                port,
                ..asked.hosts().first()?.clone()
            }
        };
        if let Some(node) = self.map().nodes.get(&server) {
            return Some(Arc::clone(node));
        }
        // A task of its own, which also ends what a caller that gives up has begun.
        let joining = tokio::spawn(Arc::clone(self).join(server));
        timeout(limit, joining).await.ok()?.ok()?
    }

    /// Connects to a server and adds it to the map. The next map drops it if it has no slots.
    async fn join(self: Arc<Self>, server: Server) -> Option<Arc<Node>> {
        // Many callers are told of a server at once; one connects.
        let _joining = self.joining.lock().await;
        if let Some(node) = self.map().nodes.get(&server) {
            return Some(Arc::clone(node));
        }
        let (server, node) = self.connector.connect(server).await.ok()?;
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut map)
            .nodes
            .insert(server, Arc::clone(&node));
        Some(node)
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
                let attempt = self.connector.attempt(&server);
                attempts.spawn(async move {
                    let error = attempt.await.err()?;
                    Some(Unreached::new(&server, error))
                });
            }
        }
        attempts.join_all().await.into_iter().flatten().collect()
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

    /// Asks the primaries that answer, in turn.
    async fn ask_nodes(&self, failures: &mut Vec<Unreached>) -> Option<Slots> {
        for (server, node) in self.members() {
            if node.is_down() {
                continue;
            }
            match self.connector.ask(&node.client(), &server).await {
                Ok(slots) => return Some(slots),
                Err(error) => failures.push(Unreached::new(&server, error)),
            }
        }
        None
    }

    /// Asks the servers that the URL named, in turn.
    async fn ask_seeds(&self, failures: &mut Vec<Unreached>) -> Option<Slots> {
        for seed in &self.seeds {
            match self.connector.ask_once(seed).await {
                Ok(slots) => return Some(slots),
                Err(error) => failures.push(Unreached::new(seed, error)),
            }
        }
        None
    }

    /// Replaces the map. A server that was in the old one keeps its connection.
    async fn adopt(&self, slots: Slots) -> Result<(), Error> {
        if slots.is_unnamed() && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "tower_fred::redis",
                "a server of the cluster does not know its own address: the layers use the one that was asked, but Redis::client \
                 cannot connect until cluster-announce-ip is set"
            );
        }
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
                    connecting.spawn(self.connector.connect(server.clone()));
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
