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
    builder::RedisBuilder,
    client::handle::Redis,
    connect_error::diagnose,
    connection::{
        breaker::Breaker, fred_error::classify, health::OverallHealth, link::Link,
        settings::client_builder,
    },
    requirements::{check, check_later},
    topology::{cluster::Cluster, deployment::Deployment, node::Node},
    url::{describe, parse},
};
use crate::error::{Error, Kind};

impl Redis {
    /// Connects to the server at `url`, with the default settings. See the [module](crate::redis) for the URLs.
    ///
    /// # Errors
    ///
    /// When the URL is invalid, nothing answers, the credentials are refused, or the server is older than Redis 7.0 or Valkey
    /// 7.2. The error says which, within five seconds at most.
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
        let (config, secure) = self.configure(url)?;
        let server = describe(&config.server, secure);
        let limit = self.connect_timeout;
        match timeout(limit, self.open(config)).await {
            Ok(Ok(redis)) => Ok(redis),
            Ok(Err(error)) if error.is_unavailable() => {
                let (kind, why) = diagnose(&error, secure);
                let message = format!("cannot connect to redis at {server}{why}");
                Err(Error::new(kind, message).caused_by(error))
            }
            Ok(Err(error)) if error.is_auth() => Err(Error::new(
                error.kind(),
                format!("redis at {server} refused the credentials"),
            )
            .caused_by(error)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::new(
                Kind::Timeout,
                format!("redis at {server} did not answer within {limit:?}"),
            )),
        }
    }

    /// The fred settings for a URL, and whether it asks for TLS.
    fn configure(&self, url: &str) -> Result<(Config, bool), Error> {
        let (config, secure) = parse(url)?;
        #[cfg(feature = "tls")]
        let config = self.tls.apply(config, secure)?;
        Ok((config, secure))
    }

    async fn open(self, config: Config) -> Result<Redis, Error> {
        let builder = client_builder(config.clone(), self.deadline);
        let health = OverallHealth::new();
        let deployment = match config.server {
            ServerConfig::Clustered { hosts, .. } => {
                self.open_cluster(builder, &health, &hosts).await?
            }
            _ => self.open_single(builder, &health).await?,
        };
        let client = match &deployment {
            Deployment::Single(node) => node.client(),
            // Only one server is checked: the others should have the same version.
            Deployment::Cluster(cluster, raw) => cluster
                .nodes()
                .first()
                .map_or_else(|| raw.client(), |node| node.client()),
        };
        if self.lazy {
            tokio::spawn(check_later(client));
        } else {
            check(&client).await?;
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
    ) -> Result<Deployment, Error> {
        let cluster = Cluster::new(
            builder.clone(),
            Arc::clone(health),
            self.timing(),
            hosts.to_vec(),
        );
        if self.lazy {
            cluster.refresh();
        } else {
            cluster.discover().await?;
        }
        // The client for raw commands has connections of its own, which the health of the handle does not count.
        let breaker = Arc::new(Breaker::new(&OverallHealth::new()));
        let link = Link::connect(builder, Arc::clone(&breaker), self.timing()).await?;
        Ok(Deployment::Cluster(cluster, Node::new(vec![link], breaker)))
    }
}
