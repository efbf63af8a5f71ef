//! A handle that shares a fred client of the application.

use std::sync::Arc;

use fred::{
    clients::{Client, Pool},
    interfaces::ClientLike,
};

use super::{
    builder::RedisBuilder,
    client::handle::Redis,
    connection::{breaker::Breaker, health::OverallHealth, link::Link},
    topology::{deployment::Deployment, node::Node},
};
use crate::error::Error;

impl RedisBuilder {
    /// Makes a handle that shares a client which the application made and connected.
    ///
    /// # Errors
    ///
    /// A [config](Error::is_config) error that names the field when the client would stop working: it has no reconnect
    /// policy, or a bounded command buffer. Other unwise settings are logged.
    pub fn client(self, client: Client) -> Result<Redis, Error> {
        self.shared(vec![client])
    }

    /// Makes a handle that shares a connected pool of the application. It uses the clients in turn.
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
        let health = OverallHealth::new();
        let breaker = Arc::new(Breaker::new(&health));
        let links = clients
            .into_iter()
            .map(|client| Link::shared(client, Arc::clone(&breaker), self.timing()))
            .collect();
        self.build(Deployment::Single(Node::new(links, breaker)), health)
    }
}

/// Shares a client of the application, with the default namespace and deadline.
///
/// Unsafe settings of the client are logged, one warning each. [`RedisBuilder::client`] refuses them.
impl From<Client> for Redis {
    fn from(client: Client) -> Self {
        RedisBuilder::new().share(vec![client])
    }
}

/// Shares a pool of the application, as [`From<Client>`](#impl-From<Client>-for-Redis) shares a client.
impl From<Pool> for Redis {
    fn from(pool: Pool) -> Self {
        RedisBuilder::new().share(pool.clients().to_vec())
    }
}

/// An unsafe setting of a client of the application, which this crate cannot correct.
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
        "max_command_buffer_len is not 0: the client stops sending once the buffer was full",
    );
    flaw(
        client.perf_config().default_command_timeout.is_zero(),
        false,
        "default_command_timeout is 0: commands outside this crate wait without limit",
    );
    flaw(
        connection.max_command_attempts != 1,
        false,
        "max_command_attempts is not 1: commands outside this crate may run twice",
    );
    flaw(
        client.is_clustered() && connection.max_redirections != 0,
        false,
        "max_redirections is not 0: while a cluster moves a slot, a caller may get another caller's reply",
    );
    flaw(
        connection.tcp.nodelay != Some(true),
        false,
        "tcp.nodelay is not set: a small command waits for the answer to the one before it",
    );
    flaws
}
