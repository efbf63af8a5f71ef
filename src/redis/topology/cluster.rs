//! A cluster: one connection per primary, and who has which slot.
//!
//! Each primary has a client of its own, so that one that is lost holds up no other, and a reply cannot reach a caller
//! of another server. fred's own cluster client is only for the application's raw commands.

use std::{
    collections::HashMap,
    fmt,
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
        Builder, ClusterHash, CustomCommand, Value,
        config::{Server, ServerConfig},
    },
    util::redis_keyslot,
};
use tokio::time::{sleep, timeout};

use super::node::Node;
use crate::error::{Error, Kind};
use crate::redis::connection::{
    failure::classify,
    health::{Board, Breaker},
    link::{Link, jittered},
};

pub(crate) struct Cluster {
    /// Makes a client of any server of the cluster, once the address is filled in.
    builder: Builder,
    board: Arc<Board>,
    deadline: Duration,
    /// The servers that the URL named, for when no known one answers.
    seeds: Vec<Server>,
    map: RwLock<Arc<Map>>,
    refreshing: AtomicBool,
}

/// Who has which slot.
#[derive(Debug, Default)]
struct Map {
    nodes: HashMap<Server, Arc<Node>>,
    /// First and last slot, in order.
    ranges: Vec<(u16, u16, Server)>,
}

impl Cluster {
    /// A cluster that is found through one of `seeds`; it has no map yet.
    pub(crate) fn new(
        builder: Builder,
        board: Arc<Board>,
        deadline: Duration,
        seeds: Vec<Server>,
    ) -> Arc<Self> {
        Arc::new(Self {
            builder,
            board,
            deadline,
            seeds,
            map: RwLock::default(),
            refreshing: AtomicBool::new(false),
        })
    }

    /// Reads the map from the first server that answers, and connects to every primary in it.
    pub(crate) async fn discover(&self) -> Result<(), Error> {
        let ranges = match self.ask_nodes().await {
            Some(ranges) => ranges,
            None => self.ask_seeds().await?,
        };
        self.adopt(ranges).await
    }

    /// The server that has `key`.
    pub(crate) fn node(&self, key: &str) -> Option<Arc<Node>> {
        let slot = redis_keyslot(key.as_bytes());
        let map = self.map();
        let place = map.ranges.partition_point(|(_, last, _)| *last < slot);
        let (first, _, server) = map.ranges.get(place)?;
        (*first <= slot).then(|| map.nodes.get(server).cloned())?
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

    /// Asks the primaries that answer.
    async fn ask_nodes(&self) -> Option<Vec<(u16, u16, Server)>> {
        let map = self.map();
        for (server, node) in map.nodes.iter().filter(|(_, node)| !node.is_down()) {
            match slots(&node.client(), self.deadline, &server.host).await {
                Ok(ranges) => return Some(ranges),
                Err(error) => {
                    tracing::debug!(target: "tower_fred::redis", %error, %server, "no cluster map");
                }
            }
        }
        None
    }

    async fn ask_seeds(&self) -> Result<Vec<(u16, u16, Server)>, Error> {
        let mut failure = Error::config("a cluster needs a server");
        for seed in &self.seeds {
            match self.ask_seed(seed).await {
                Ok(ranges) => return Ok(ranges),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn ask_seed(&self, seed: &Server) -> Result<Vec<(u16, u16, Server)>, Error> {
        let client = self.builder_for(seed, true).build().map_err(classify)?;
        client.init().await.map_err(classify)?;
        let ranges = slots(&client, self.deadline, &seed.host).await;
        // The answer matters, not how the connection ends.
        let _ = timeout(self.deadline, client.quit()).await;
        ranges
    }

    /// Puts a new map in the place of the old one. Servers that are in both keep their connections.
    async fn adopt(&self, ranges: Vec<(u16, u16, Server)>) -> Result<(), Error> {
        let old = self.map();
        let mut map = Map {
            nodes: HashMap::new(),
            ranges,
        };
        for (_, _, server) in &map.ranges {
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
        let breaker = Arc::new(Breaker::new(&self.board));
        let builder = self.builder_for(server, false);
        let link = Link::connect(builder, Arc::clone(&breaker), self.deadline).await?;
        Ok(Arc::new(Node::new(vec![link], breaker)))
    }

    fn builder_for(&self, server: &Server, impatient: bool) -> Builder {
        let mut builder = self.builder.clone();
        builder.with_config(|config| {
            config.server = ServerConfig::Centralized {
                server: server.clone(),
            };
            config.fail_fast = impatient;
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

/// `CLUSTER SLOTS`: the primaries and their slots. `asked` is the host to fill in where a server does not know its own.
async fn slots(
    client: &Client,
    deadline: Duration,
    asked: &str,
) -> Result<Vec<(u16, u16, Server)>, Error> {
    let command = CustomCommand::new_static("CLUSTER", ClusterHash::Random, false);
    let reply = timeout(deadline, client.custom::<Value, _>(command, vec!["SLOTS"])).await;
    let reply = reply
        .map_err(|_| Error::new(Kind::Timeout, "no answer from redis within the deadline"))?
        .map_err(classify)?;
    let mut ranges = Vec::new();
    for range in array(&reply) {
        let [first, last, primary, ..] = array(range) else {
            continue;
        };
        let [host, port, ..] = array(primary) else {
            continue;
        };
        let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
        if let (Some(first), Some(last), Some(port)) = (number(first), number(last), number(port)) {
            let host = host.as_str().filter(|host| !host.is_empty() && host != "?");
            ranges.push((
                first,
                last,
                Server::new(host.as_deref().unwrap_or(asked), port),
            ));
        }
    }
    if ranges.is_empty() {
        return Err(Error::new(Kind::Unavailable, "the cluster has no slots"));
    }
    ranges.sort_unstable_by_key(|(first, _, _)| *first);
    Ok(ranges)
}

fn array(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        _ => &[],
    }
}

const REFRESH_INTERVAL: Duration = Duration::from_millis(100);
