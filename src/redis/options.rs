//! The settings of a handle, and the fred settings that follow from them.

use std::{sync::Arc, time::Duration};

use fred::{
    clients::{Client, Pool},
    interfaces::ClientLike,
    types::config::{
        ConnectionConfig, Options, PerformanceConfig, ReconnectError, ReconnectPolicy,
    },
};

use super::{
    client::client::{Deployment, Redis},
    connection::{
        health::{Board, Breaker},
        link::Link,
    },
    topology::node::Node,
};
use crate::error::Error;

/// Settings for a [`Redis`] handle; [`Redis::builder`] begins one.
///
/// It ends with [`connect`](Self::connect), or with [`client`](Self::client) or [`pool`](Self::pool) when the
/// application already has a connected fred client.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct RedisBuilder {
    pub(super) namespace: String,
    pub(super) deadline: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) pool_size: usize,
    pub(super) max_in_flight: usize,
    pub(super) lazy: bool,
    #[cfg(feature = "tls")]
    pub(super) tls: super::connection::tls::Tls,
}

impl RedisBuilder {
    pub(super) fn new() -> Self {
        Self {
            namespace: "tower-fred".into(),
            deadline: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(5),
            pool_size: 1,
            max_in_flight: 1024,
            lazy: false,
            #[cfg(feature = "tls")]
            tls: super::connection::tls::Tls::default(),
        }
    }

    /// What every key of this crate begins with; default `tower-fred`. Two applications on one server need two.
    ///
    /// 1 to 64 visible ASCII characters without `{` and `}`: in a cluster those would move the keys. Checked when the
    /// builder ends.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How long a command may take, including the wait for a connection; default 250 ms, 1 ms to 1 hour.
    ///
    /// Keep it shorter than any timeout around the request: a command that this deadline ends is not sent later, one
    /// whose future is dropped may be.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long [`connect`](Self::connect) may take in all; default 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many connections to open; default 1, which is as fast as more unless values are large.
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.pool_size = connections;
        self
    }

    /// How many commands of this crate may wait for Redis at once; default 1024. One more fails at once.
    pub fn max_in_flight(mut self, commands: usize) -> Self {
        self.max_in_flight = commands;
        self
    }

    /// Does not wait for the server: [`connect`](Self::connect) returns at once, and connects in the background for as long
    /// as it takes. Until then each command fails, and the layers do what they do while Redis is away.
    ///
    /// Only an invalid URL or setting is still an error of `connect`; a server that is too old is logged.
    pub fn lazy(mut self) -> Self {
        self.lazy = true;
        self
    }

    /// Shares a client that the application made and connected.
    ///
    /// # Errors
    ///
    /// A [config](Error::is_config) error that names the field when the client would lose or repeat commands: no
    /// reconnect policy, or a bounded command buffer. Settings that are merely unwise are logged.
    pub fn client(self, client: Client) -> Result<Redis, Error> {
        self.shared(vec![client])
    }

    /// Shares a pool that the application made and connected, taking its clients in turn.
    ///
    /// # Errors
    ///
    /// As [`client`](Self::client).
    pub fn pool(self, pool: &Pool) -> Result<Redis, Error> {
        self.shared(pool.clients().to_vec())
    }

    fn shared(self, clients: Vec<Client>) -> Result<Redis, Error> {
        self.check()?;
        #[cfg(feature = "tls")]
        self.tls.refuse("the application's client has its own")?;
        if let Some(flaw) = clients.iter().flat_map(flaws).find(|flaw| flaw.fatal) {
            return Err(Error::config(format!("unsafe fred client: {}", flaw.text)));
        }
        Ok(self.share(clients))
    }

    /// Shares `clients` whatever their settings, with a warning for each flaw.
    pub(super) fn share(self, clients: Vec<Client>) -> Redis {
        if let Some(client) = clients.first() {
            for flaw in flaws(client) {
                tracing::warn!(target: "tower_fred::redis", setting = flaw.text, "unsafe fred client");
            }
        }
        let board = Board::new();
        let breaker = Arc::new(Breaker::new(&board));
        let links = clients
            .into_iter()
            .map(|client| Link::shared(client, Arc::clone(&breaker), self.deadline))
            .collect();
        Redis::new(Deployment::Single(Node::new(links, breaker)), board, self)
    }

    /// Refuses what can never work, naming the setting.
    pub(super) fn check(&self) -> Result<(), Error> {
        let visible = |c: char| c.is_ascii_graphic() && c != '{' && c != '}';
        if !(1..=64).contains(&self.namespace.len()) || !self.namespace.chars().all(visible) {
            return Err(Error::config(
                "namespace must be 1 to 64 visible ASCII characters without braces",
            ));
        }
        check_deadline(self.deadline)?;
        if self.connect_timeout.is_zero() {
            return Err(Error::config("connect_timeout must not be zero"));
        }
        if !(1..=1024).contains(&self.pool_size) {
            return Err(Error::config("pool_size must be 1 to 1024"));
        }
        // The upper bound is that of the semaphore behind it.
        if !(1..=1 << 20).contains(&self.max_in_flight) {
            return Err(Error::config("max_in_flight must be 1 to 1048576"));
        }
        Ok(())
    }

    pub(super) fn reconnect_policy() -> ReconnectPolicy {
        let mut policy = ReconnectPolicy::new_exponential(0, 10, 250, 2);
        policy.set_jitter(10);
        policy
    }

    pub(super) fn configure_performance(&self, config: &mut PerformanceConfig) {
        config.default_command_timeout = self.deadline;
        config.broadcast_channel_capacity = 1024;
    }

    pub(super) fn configure_connection(config: &mut ConnectionConfig) {
        config.max_command_attempts = 1;
        config.max_redirections = 0;
        // Any other value stops the client from flushing, and may end it.
        config.max_command_buffer_len = 0;
        config.connection_timeout = Duration::from_millis(500);
        config.internal_command_timeout = Duration::from_millis(500);
        config.tcp.nodelay = Some(true);
        config.reconnect_errors = vec![ReconnectError::ReadOnly, ReconnectError::ClusterDown];
    }
}

/// What each of our commands carries, also on a client that the application made.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) deadline: Duration,
    pub(super) options: Options,
}

impl Bounds {
    pub(super) fn new(deadline: Duration) -> Self {
        let options = Options {
            // A command whose connection broke may have run: a second attempt would count it twice.
            max_attempts: Some(1),
            // fred mixes up replies while it follows an ASK redirection.
            max_redirections: Some(0),
            timeout: Some(deadline),
            fail_fast: true,
            ..Options::default()
        };
        Self { deadline, options }
    }
}

pub(super) fn check_deadline(deadline: Duration) -> Result<(), Error> {
    if !(Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&deadline) {
        return Err(Error::config("deadline must be 1 ms to 1 hour"));
    }
    Ok(())
}

/// A setting of somebody else's client that this crate cannot make up for.
struct Flaw {
    fatal: bool,
    text: &'static str,
}

fn flaws(client: &Client) -> Vec<Flaw> {
    let connection = client.connection_config();
    let mut flaws = Vec::new();
    let mut flaw = |found: bool, fatal: bool, text: &'static str| {
        if found {
            flaws.push(Flaw { fatal, text });
        }
    };
    flaw(
        !client.has_reconnect_policy(),
        true,
        "no reconnect policy: after the first disconnection every command hangs",
    );
    flaw(
        connection.max_command_buffer_len > 0,
        true,
        "max_command_buffer_len is not 0: the client stops sending after it was full once",
    );
    flaw(
        client.perf_config().default_command_timeout.is_zero(),
        false,
        "default_command_timeout is 0: commands outside this crate wait for ever",
    );
    flaw(
        connection.max_command_attempts != 1,
        false,
        "max_command_attempts is not 1: commands outside this crate may run twice",
    );
    flaw(
        client.is_clustered() && connection.max_redirections != 0,
        false,
        "max_redirections is not 0: while a cluster moves a slot, replies may go to the wrong caller",
    );
    flaw(
        connection.tcp.nodelay != Some(true),
        false,
        "tcp.nodelay is not set: small commands wait for the answer to the one before",
    );
    flaws
}
