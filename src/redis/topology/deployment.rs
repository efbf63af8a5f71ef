//! The servers of a handle, and which of them gets a command.

use std::{future::Future, sync::Arc, time::Instant};

use fred::{
    clients::{Client, WithOptions},
    error::Error as FredError,
    interfaces::ClientLike,
    util::redis_keyslot,
};

use super::{
    cluster::Cluster,
    node::{Failure, Node},
};
use crate::{
    error::{Error, Kind},
    redis::connection::{
        fred_error::was_lost, server_clock::ServerClock, settings::CommandOptions,
    },
};

/// Where commands go.
#[derive(Debug)]
pub(crate) enum Deployment {
    /// One server, named by the URL or by sentinels; or a client of the application, whatever it is connected to.
    Single(Node),
    /// A cluster whose slots this crate looks up, and a cluster client of fred for raw commands.
    Cluster(Arc<Cluster>, Node),
}

impl Deployment {
    /// A client for the application's own commands.
    pub(crate) fn raw_client(&self) -> Client {
        match self {
            Self::Single(node) | Self::Cluster(_, node) => node.client(),
        }
    }

    /// A client of any one server: in a cluster, of one that is not down.
    #[cfg(feature = "session")]
    pub(crate) fn any_client(&self) -> Option<Client> {
        match self {
            Self::Single(node) => Some(node.client()),
            Self::Cluster(cluster, _) => {
                let nodes = cluster.nodes();
                let up = nodes.iter().find(|node| !node.is_down())?;
                Some(up.client())
            }
        }
    }

    /// A client of the server that has `key`; `None` while no server of a cluster is known to have it.
    pub(crate) fn client_for(&self, key: &str) -> Option<Client> {
        match self {
            Self::Single(node) => Some(node.client()),
            Self::Cluster(cluster, _) => cluster.node(key).map(|node| node.client()),
        }
    }

    /// Keys of the same lane can be read by one command: all keys of one server, those of a slot in a cluster.
    pub(crate) fn lane(&self, key: &str) -> u16 {
        match self {
            Self::Single(node) if !node.is_cluster() => 0,
            _ => redis_keyslot(key.as_bytes()),
        }
    }

    pub(crate) fn connections(&self) -> usize {
        match self {
            Self::Single(node) => node.connections(),
            Self::Cluster(cluster, _) => {
                cluster.nodes().iter().map(|node| node.connections()).sum()
            }
        }
    }

    /// Sends `PING` to every server.
    pub(crate) async fn ping(&self, options: &CommandOptions) -> Result<(), Error> {
        let ping = |client: WithOptions<Client>, _| async move { client.ping(None).await };
        match self {
            Self::Single(node) => node.send(options, ping).await?,
            Self::Cluster(cluster, _) => {
                for node in cluster.nodes() {
                    node.send(options, ping).await?;
                }
            }
        }
        Ok(())
    }

    /// As [`send`](Self::send), for a command that changes nothing: it is sent once more if the connection was lost while it
    /// was on its way, as when a proxy closes an idle one.
    pub(crate) async fn read<T, F>(
        &self,
        key: &str,
        options: &CommandOptions,
        command: impl Fn(WithOptions<Client>, Arc<ServerClock>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, FredError>>,
    {
        let until = tokio::time::Instant::now() + options.deadline;
        let mut rest = None;
        loop {
            let options = rest.as_ref().unwrap_or(options);
            match self.send(key, options, &command).await {
                Err(error) if was_lost(&error) && rest.is_none() => {
                    rest = Some(CommandOptions::until(until));
                }
                result => return result,
            }
        }
    }

    /// Sends one command to the server that has `key`.
    pub(crate) async fn send<T, F>(
        &self,
        key: &str,
        options: &CommandOptions,
        command: impl Fn(WithOptions<Client>, Arc<ServerClock>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, FredError>>,
    {
        let cluster = match self {
            Self::Single(node) => {
                let result = node.send(options, command).await;
                if matches!(result, Err(Failure::Misplaced(_))) {
                    node.look_for_primary();
                }
                return Ok(result?);
            }
            Self::Cluster(cluster, _) => cluster,
        };
        let Some(node) = cluster.node(key) else {
            cluster.refresh();
            return Err(Error::new(
                Kind::Unavailable,
                "no server of the cluster has the key's slot",
            ));
        };
        let begun = Instant::now();
        match node.send(options, &command).await {
            Err(Failure::Moved(address, error)) => {
                cluster.refresh();
                // The deadline is for both servers together.
                let left = options.deadline.saturating_sub(begun.elapsed());
                match cluster.node_at(&address, &node, left).await {
                    Some(node) => {
                        let left = options.deadline.saturating_sub(begun.elapsed());
                        if left.is_zero() {
                            return Err(error);
                        }
                        Ok(node.send(&CommandOptions::new(left), command).await?)
                    }
                    None => Err(error),
                }
            }
            Err(failure @ Failure::Unanswered(_)) => {
                cluster.refresh();
                Err(failure.into())
            }
            Err(failure @ Failure::Misplaced(_)) => {
                cluster.refresh_calmly();
                Err(failure.into())
            }
            result => Ok(result?),
        }
    }

    /// Tests in the background whether the replies of the server with `key` answer the commands that were sent.
    #[cfg(feature = "cache")]
    pub(crate) fn verify(&self, key: &str) {
        match self {
            Self::Single(node) => node.verify(),
            Self::Cluster(cluster, _) => {
                if let Some(node) = cluster.node(key) {
                    node.verify();
                }
            }
        }
    }
}
