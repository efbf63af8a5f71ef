//! From a URL to a connected handle.

use std::sync::Arc;

use fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{
        Builder,
        config::{Config, Server, ServerConfig},
    },
};
use tokio::time::timeout;

use super::{
    client::client::{Deployment, Redis},
    connection::{
        failure::{classify, diagnose},
        health::{Board, Breaker},
        link::Link,
    },
    options::RedisBuilder,
    topology::{cluster::Cluster, node::Node, sentinel},
};
use crate::error::{Error, Kind};

impl RedisBuilder {
    /// Connects to the server at `url`. See the [module](crate::redis) for the URLs.
    ///
    /// # Errors
    ///
    /// A [config](Error::is_config) error for an invalid URL or setting, an [unavailable](Error::is_unavailable) one when
    /// nothing answers, an [auth](Error::is_auth) one for wrong credentials, an [unsupported](Error::is_unsupported) one
    /// for a server older than Redis 7.0 or Valkey 7.2; always within [`connect_timeout`](Self::connect_timeout).
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
        let mut builder = Builder::from_config(config.clone());
        builder
            .set_policy(Self::reconnect_policy())
            .with_performance_config(|config| self.configure_performance(config))
            .with_connection_config(Self::configure_connection);
        builder.with_config(|config| config.fail_fast = false);
        let board = Board::new();
        let deployment = match config.server {
            ServerConfig::Clustered { hosts, .. } => {
                self.open_cluster(builder, &board, &hosts).await?
            }
            _ => self.open_single(builder, &board).await?,
        };
        let client = match &deployment {
            Deployment::Single(node) => node.client(),
            // Every server tells its own version; one is enough.
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
        Ok(Redis::new(deployment, board, self))
    }

    async fn open_single(&self, builder: Builder, board: &Arc<Board>) -> Result<Deployment, Error> {
        // Only for the first connection: an error at once in place of waiting for a server that is not there.
        let mut impatient = builder.clone();
        impatient.with_config(|config| config.fail_fast = true);
        let breaker = Arc::new(Breaker::new(board));
        let mut links = Vec::with_capacity(self.pool_size);
        for _ in 0..self.pool_size {
            let (client, router) = if self.lazy {
                let client = builder.build().map_err(classify)?;
                let router = client.connect();
                (client, router)
            } else {
                let client = impatient.build().map_err(classify)?;
                let router = client.init().await.map_err(classify)?;
                (client, router)
            };
            let (builder, breaker) = (builder.clone(), Arc::clone(&breaker));
            links.push(Link::owned(client, router, builder, breaker, self.deadline));
        }
        if matches!(builder.get_config(), Some(config) if config.server.is_sentinel()) {
            let links = links.iter().map(Arc::downgrade).collect();
            tokio::spawn(sentinel::follow(builder, links));
        }
        Ok(Deployment::Single(Node::new(links, breaker)))
    }

    async fn open_cluster(
        &self,
        builder: Builder,
        board: &Arc<Board>,
        hosts: &[Server],
    ) -> Result<Deployment, Error> {
        let cluster = Cluster::new(
            builder.clone(),
            Arc::clone(board),
            self.deadline,
            hosts.to_vec(),
        );
        if self.lazy {
            cluster.refresh();
        } else {
            cluster.discover().await?;
        }
        // On a board of its own: what raw commands meet says nothing about the layers' connections.
        let breaker = Arc::new(Breaker::new(&Board::new()));
        let link = Link::connect(builder, Arc::clone(&breaker), self.deadline).await?;
        Ok(Deployment::Cluster(cluster, Node::new(vec![link], breaker)))
    }
}

/// The settings in a URL, and whether it asks for TLS, which the caller sees to: fred would take the platform's root
/// certificates whatever ours are. The scheme is checked here too, since fred takes any unknown one for plain text.
fn parse(url: &str) -> Result<(Config, bool), Error> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(Error::config(
            "invalid redis URL: no scheme, such as redis://",
        ));
    };
    let (base, suffix) = ["-cluster", "-sentinel", "+unix"]
        .iter()
        .find_map(|suffix| Some((scheme.strip_suffix(suffix)?, *suffix)))
        .unwrap_or((scheme, ""));
    let secure = match base {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" if suffix == "+unix" => {
            return Err(Error::config("invalid redis URL: a unix socket has no TLS"));
        }
        "rediss" | "valkeys" if cfg!(feature = "tls") => true,
        "rediss" | "valkeys" => {
            return Err(Error::config(
                "TLS was asked for, but the feature `tls` of tower-fred is off",
            ));
        }
        _ => {
            return Err(Error::config(format!(
                "invalid redis URL: unknown scheme `{scheme}`"
            )));
        }
    };
    let config = Config::from_url(&format!("redis{suffix}://{rest}")).map_err(|error| {
        Error::config(format!("invalid redis URL: {}", error.details())).caused_by(error)
    })?;
    Ok((config, secure))
}

/// The server's name in messages: hosts and ports, never credentials.
fn describe(server: &ServerConfig, secure: bool) -> String {
    let name = match server {
        ServerConfig::Unix { path } => path.display().to_string(),
        other => {
            let hosts: Vec<String> = other.hosts().iter().map(ToString::to_string).collect();
            hosts.join(", ")
        }
    };
    if secure { name + " over TLS" } else { name }
}

/// Refuses a server that cannot do what we need, and warns about one that may forget what it should not.
async fn check(client: &Client) -> Result<(), Error> {
    let info: String = match client.info(None).await {
        Ok(info) => info,
        Err(error) => {
            let error = classify(error);
            if error.is_unavailable() {
                return Err(error);
            }
            tracing::warn!(target: "tower_fred::redis", %error, "the server's version is unknown");
            return Ok(());
        }
    };
    if let Some(found) = too_old(&info) {
        return Err(Error::new(
            Kind::Unsupported,
            format!("{found} is too old: Redis 7.0 or Valkey 7.2 is needed"),
        ));
    }
    if let Some(policy) = forgetful(&info) {
        tracing::warn!(
            target: "tower_fred::redis",
            maxmemory_policy = policy,
            "the server may evict sessions and rate limits when its memory is full"
        );
    }
    Ok(())
}

/// The same once there is a connection, when nobody waits for it any more.
async fn check_later(client: Client) {
    if client.wait_for_connect().await.is_ok() {
        if let Err(error) = check(&client).await {
            tracing::error!(target: "tower_fred::redis", %error, "the server is not fit for use");
        }
    }
}

/// The eviction policy of a server that may evict what is ours, from its `INFO`. Every key of ours has a time to live, so
/// each policy but one may choose it, also those that begin with `volatile-`.
fn forgetful(info: &str) -> Option<&str> {
    let policy = field(info, "maxmemory_policy:")?;
    let limited = field(info, "maxmemory:")? != "0";
    (limited && policy != "noeviction").then_some(policy)
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// The name of a server that lacks what we need (`SET … NX GET`, `PEXPIREAT … GT`), from its `INFO server`.
fn too_old(info: &str) -> Option<String> {
    let version = |name| {
        let text = field(info, name)?;
        let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
        Some((text, (parts.next()??, parts.next().flatten().unwrap_or(0))))
    };
    // Valkey also reports the Redis version that it is compatible with.
    let (name, (text, found), least) = match version("valkey_version:") {
        Some(valkey) => ("Valkey", valkey, (7, 2)),
        None => ("Redis", version("redis_version:")?, (7, 0)),
    };
    (found < least).then(|| format!("{name} {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_checked() {
        for url in [
            "redis://h",
            "valkey://u:p%40ss@h:1/2",
            "redis-cluster://a:1?node=b:2",
            "redis-sentinel://s:1/1?sentinelServiceName=m",
            "redis+unix:///tmp/redis.sock",
        ] {
            assert!(parse(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "localhost:6379",
            "tls://h",
            "http://h",
            "redis://",
            "unix:///tmp/s",
            "redis://h:port",
        ] {
            assert!(parse(url).expect_err(url).is_config(), "{url}");
        }
    }

    #[test]
    fn tls_is_never_downgraded() {
        assert_eq!(parse("rediss://h").is_ok(), cfg!(feature = "tls"));
        assert!(parse("rediss+unix:///tmp/s").is_err());
    }

    #[test]
    fn an_error_does_not_show_the_password() {
        let error = parse("redis://user:hunter2@h:port/x").expect_err("port");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn versions() {
        assert_eq!(
            too_old("redis_version:6.2.14\r\n").as_deref(),
            Some("Redis 6.2.14")
        );
        assert_eq!(too_old("# Server\r\nredis_version:7.0.15\r\n"), None);
        assert_eq!(
            too_old("redis_version:7.2.4\r\nvalkey_version:7.1.0\r\n").as_deref(),
            Some("Valkey 7.1.0")
        );
        assert_eq!(
            too_old("redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n"),
            None
        );
        // Servers that do not say are let through: they may well be able.
        assert_eq!(too_old("server:other\r\n"), None);
    }

    #[test]
    fn only_a_limited_memory_is_evicted_from_and_by_every_policy_but_one() {
        let info =
            |limit: u64, policy| format!("maxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n");
        // It was silent for `volatile-…`, which choose among keys with a time to live: all of ours have one.
        for policy in [
            "allkeys-lru",
            "allkeys-lfu",
            "allkeys-random",
            "allkeys-lrm",
            "volatile-lru",
            "volatile-lfu",
            "volatile-random",
            "volatile-ttl",
            "volatile-lrm",
        ] {
            assert_eq!(forgetful(&info(1, policy)), Some(policy));
            assert_eq!(forgetful(&info(0, policy)), None);
        }
        assert_eq!(forgetful(&info(1, "noeviction")), None);
        assert_eq!(forgetful(""), None);
    }
}
