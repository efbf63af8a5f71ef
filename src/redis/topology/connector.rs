//! Connections to the servers of a cluster, which have all settings in common but the address.

use std::{future::Future, sync::Arc, time::Duration};

use fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{
        Builder,
        config::{Server, ServerConfig},
    },
};
use tokio::time::timeout;

use super::{node::Node, slots::Slots};
use crate::{
    error::Error,
    redis::connection::{
        breaker::Breaker,
        fred_error::classify,
        health::OverallHealth,
        link::Link,
        settings::{Timing, Transport},
    },
};

pub(super) struct Connector {
    /// Makes a client of any server of the cluster, once the address is filled in.
    pub(super) builder: Builder,
    pub(super) health: Arc<OverallHealth>,
    pub(super) timing: Timing,
    /// How long an attempt may take whose result somebody waits for.
    pub(super) patience: Duration,
    pub(super) transport: Transport,
}

impl Connector {
    /// Asks a server that has a connection for the map.
    pub(super) async fn ask(&self, client: &Client, server: &Server) -> Result<Slots, Error> {
        Slots::ask(client, self.timing.deadline, &server.host, &self.transport).await
    }

    /// Connects to a server only to ask it for the map.
    pub(super) async fn ask_once(&self, server: &Server) -> Result<Slots, Error> {
        let client = greet(&self.builder_for(server, true)).await?;
        let slots = self.ask(&client, server).await;
        leave(&client, self.patience).await;
        slots
    }

    /// Connects to a server only to find out whether it can be reached.
    pub(super) fn attempt(
        &self,
        server: &Server,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let (builder, patience) = (self.builder_for(server, true), self.patience);
        async move {
            leave(&greet(&builder).await?, patience).await;
            Ok(())
        }
    }

    /// Connects to a primary, in the background if it takes longer than the deadline.
    pub(super) fn connect(
        &self,
        server: Server,
    ) -> impl Future<Output = Result<(Server, Arc<Node>), Error>> + Send + use<> {
        let breaker = Arc::new(Breaker::new(&self.health));
        let builder = self.builder_for(&server, false);
        let timing = self.timing;
        async move {
            let link = Link::connect(builder, Arc::clone(&breaker), timing).await?;
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
            self.transport.complete(config, Some(server));
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
