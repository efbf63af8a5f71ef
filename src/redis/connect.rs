//! From a URL to a connected handle.

use std::sync::Arc;

use fred::{
    interfaces::ClientLike,
    types::{
        Builder,
        config::{Config, Server, ServerConfig},
    },
};
use tokio::time::timeout;

use super::{
    address::{
        diagnosis::{Unreached, diagnose, is_of_sentinels, none_reached, show},
        url::{describe, parse},
    },
    builder::RedisBuilder,
    client::handle::Redis,
    connection::{
        breaker::Breaker,
        fred_error::classify,
        health::OverallHealth,
        link::Link,
        settings::{Transport, client_builder},
    },
    neighbour::{MARKER, MARKER_TIMEOUT, introduce},
    requirements::{check, check_later},
    topology::{cluster::Cluster, deployment::Deployment, node::Node},
};
use crate::error::{Error, Kind};

impl Redis {
    /// Connects to the server at `url`, with the default settings. See the [module](crate::redis) for the URLs.
    ///
    /// # Errors
    ///
    /// When the URL is invalid, nothing answers, the credentials are refused, or the server is older than Redis 7.0 or Valkey
    /// 7.2. The error says which, within five seconds at most, and names each server that did not answer with the reason. In a
    /// cluster it is enough that one primary answers; those that do not are logged.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().connect(url).await
    }
}

impl RedisBuilder {
    /// Connects to the server at `url`. See the [module](crate::redis) for the URLs.
    ///
    /// # Errors
    ///
    /// A [config](Error::is_config) error for an invalid URL or setting, an [unavailable](Error::is_unavailable) one when
    /// nothing answers, an [auth](Error::is_auth) one for wrong credentials, and an [unsupported](Error::is_unsupported)
    /// one for a server older than Redis 7.0 or Valkey 7.2. It comes within [`connect_timeout`](Self::connect_timeout).
    pub async fn connect(self, url: &str) -> Result<Redis, Error> {
        self.check()?;
        let (config, transport) = self.configure(url)?;
        let server = describe(&config.server);
        let limit = self.connect_timeout;
        match timeout(limit, self.open(config, transport)).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(
                Kind::Timeout,
                format!("redis at {server} did not answer within {limit:?}"),
            )),
        }
    }

    /// The fred settings for a URL, and how it asks to be connected to.
    fn configure(&self, url: &str) -> Result<(Config, Transport), Error> {
        let (mut config, secure) = parse(url)?;
        let transport = self.transport(secure, &config.server.hosts())?;
        transport.complete(&mut config, None);
        Ok((config, transport))
    }

    #[cfg(feature = "tls")]
    fn transport(&self, secure: bool, hosts: &[Server]) -> Result<Transport, Error> {
        let trust = self.tls.trust(secure, hosts)?;
        Ok(trust.map_or(Transport::Plain, |trust| Transport::Tls(Box::new(trust))))
    }

    #[cfg(not(feature = "tls"))]
    fn transport(&self, _: bool, _: &[Server]) -> Result<Transport, Error> {
        Ok(Transport::Plain)
    }

    async fn open(self, config: Config, transport: Transport) -> Result<Redis, Error> {
        let builder = client_builder(config.clone(), self.deadline);
        let health = OverallHealth::new();
        let deployment = match &config.server {
            ServerConfig::Clustered { hosts, .. } => {
                self.open_cluster(builder, &health, hosts, transport)
                    .await?
            }
            server => {
                let opened = self.open_single(builder, &health).await;
                opened.map_err(|error| explain(error, server, transport.is_secure()))?
            }
        };
        if self.namespace.is_none() {
            let client = deployment.client_for(MARKER);
            let introduced = introduce(client.unwrap_or_else(|| deployment.raw_client()));
            if self.lazy {
                tokio::spawn(introduced);
            } else {
                // Not worth more of the time for the start.
                let _ = timeout(self.deadline.min(MARKER_TIMEOUT), introduced).await;
            }
        }
        Ok(self.build(deployment, health))
    }

    async fn open_single(
        &self,
        builder: Builder,
        health: &Arc<OverallHealth>,
    ) -> Result<Deployment, Error> {
        // The first connection fails at once when the server is not there; later ones wait for it.
        let mut failing_fast = builder.clone();
        failing_fast.with_config(|config| config.fail_fast = true);
        let breaker = Arc::new(Breaker::new(health));
        let mut links = Vec::with_capacity(self.pool_size);
        for _ in 0..self.pool_size {
            let (client, router) = if self.lazy {
                let client = builder.build().map_err(classify)?;
                let router = client.connect();
                (client, router)
            } else {
                let client = failing_fast.build().map_err(classify)?;
                let router = client.init().await.map_err(classify)?;
                (client, router)
            };
            let (builder, breaker) = (builder.clone(), Arc::clone(&breaker));
            links.push(Link::owned(client, router, builder, breaker, self.timing()));
        }
        let node = Node::new(links, breaker);
        if self.lazy {
            tokio::spawn(check_later(node.client()));
        } else {
            check(&node.client()).await?;
        }
        if matches!(builder.get_config(), Some(config) if config.server.is_sentinel()) {
            return Ok(Deployment::Single(node.following(builder)));
        }
        Ok(Deployment::Single(node))
    }

    async fn open_cluster(
        &self,
        builder: Builder,
        health: &Arc<OverallHealth>,
        hosts: &[Server],
        transport: Transport,
    ) -> Result<Deployment, Error> {
        let secure = transport.is_secure();
        let cluster = Cluster::new(
            builder.clone(),
            Arc::clone(health),
            self.timing(),
            hosts.to_vec(),
            self.connect_timeout,
            transport,
        );
        if self.lazy {
            cluster.refresh();
        } else {
            cluster.discover().await?;
            check_any(&cluster, secure).await?;
        }
        // The client for raw commands has connections of its own, which the health of the handle does not count.
        let breaker = Arc::new(Breaker::new(&OverallHealth::new()));
        let link = Link::connect(builder, Arc::clone(&breaker), self.timing()).await?;
        if self.lazy {
            tokio::spawn(check_later(link.client()));
        }
        Ok(Deployment::Cluster(cluster, Node::new(vec![link], breaker)))
    }
}

/// Checks the primaries of a cluster in turn until one has answered: each tells its own version, and one is enough.
///
/// Those that cannot be reached are logged. If none can be reached, the error names each with its reason.
async fn check_any(cluster: &Cluster, secure: bool) -> Result<(), Error> {
    let mut failures = cluster.unreached().await;
    let mut checked = None;
    for (server, node) in cluster.members() {
        let name = show(&server);
        if failures.iter().any(|failure| failure.server == name) {
            continue;
        }
        match check(&node.client()).await {
            Err(error) if error.is_unavailable() => failures.push(Unreached::new(&server, error)),
            result => {
                checked = Some(result);
                break;
            }
        }
    }
    let Some(result) = checked else {
        return Err(none_reached(failures, secure));
    };
    for Unreached { server, error } in failures {
        let (_, why) = diagnose(&error, secure);
        tracing::warn!(target: "tower_fred::redis", server, %why, "cannot connect to a primary of the cluster");
    }
    result
}

/// Names the server in the error of a first connection that found none.
fn explain(error: Error, server: &ServerConfig, secure: bool) -> Error {
    if !error.is_unavailable() && !error.is_auth() {
        return error;
    }
    let hosts = describe(server);
    let server = match server {
        ServerConfig::Sentinel { .. } if is_of_sentinels(&error) => {
            format!("the sentinels {hosts}")
        }
        ServerConfig::Sentinel { .. } => format!("the primary that the sentinels {hosts} name"),
        _ => hosts,
    };
    none_reached(vec![Unreached { server, error }], secure)
}
