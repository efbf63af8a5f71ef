//! What can happen to one server of several, for real.

use std::future::Future;

use tokio::task::yield_now;
use tower_fred::fred::{
    interfaces::ClientLike,
    types::{ClusterHash, CustomCommand, FromValue, Value},
    util::redis_keyslot,
};

use super::{
    load::Load,
    patience::patiently,
    topology::{Cluster, Sentinels},
};

/// A primary that sentinels replace by one of its replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentinelFault {
    Planned,
    Killed,
}

impl SentinelFault {
    /// Returns as soon as there is another primary.
    pub async fn happen(self, sentinels: &Sentinels) {
        let old = sentinels.primary().await;
        match self {
            Self::Planned => sentinels.fail_over().await,
            Self::Killed => {
                let primary = sentinels.servers.iter().find(|server| server.port() == old);
                primary.expect("the primary").kill();
            }
        }
        patiently("another primary", async {
            while sentinels.primary().await == old {
                yield_now().await;
            }
        })
        .await;
    }
}

/// A shard of a cluster that moves, is replaced or dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterFault {
    Migration,
    Planned,
    Killed,
}

impl ClusterFault {
    /// In this order: each harms a shard that those before left alone.
    pub const ALL: [Self; 3] = [Self::Migration, Self::Planned, Self::Killed];

    /// The primary that it happens to.
    pub fn shard(self) -> usize {
        match self {
            Self::Migration => 2,
            Self::Planned => 0,
            Self::Killed => 1,
        }
    }

    /// Returns as soon as there is another primary, or the slot has moved, which it does after `hold`.
    pub async fn happen(self, cluster: &Cluster, load: &Load, hold: impl Future<Output = ()>) {
        let replica = self.shard() + 3;
        match self {
            Self::Migration => return migrate(cluster, load, (self.shard(), 1), hold).await,
            Self::Planned => cluster.cluster(replica, &["FAILOVER"]).await,
            Self::Killed => cluster.servers[self.shard()].kill(),
        }
        patiently("a replica that takes over", async {
            loop {
                let role: Vec<Value> = run(cluster, replica, "ROLE", &[]).await;
                if role.first().and_then(Value::as_string).as_deref() == Some("master") {
                    return;
                }
                yield_now().await;
            }
        })
        .await;
    }
}

/// Moves the slot of a visitor's session, with all that is in it, and stays half way for `hold`.
async fn migrate(
    cluster: &Cluster,
    load: &Load,
    (from, to): (usize, usize),
    hold: impl Future<Output = ()>,
) {
    // Not of any session: one whose visitor was never told of it would be missed by nobody.
    let key = patiently("a session of a visitor", async {
        loop {
            let key: String = run(cluster, from, "RANDOMKEY", &[]).await;
            if load.comes_with(&key) {
                break key;
            }
        }
    })
    .await;
    let slot = redis_keyslot(key.as_bytes());
    cluster.begin_migration(slot, to).await;
    let keys = ["GETKEYSINSLOT", &slot.to_string(), "1000"];
    let keys: Vec<String> = run(cluster, from, "CLUSTER", &keys).await;
    let port = cluster.servers[to].port().to_string();
    let mut arguments = vec!["127.0.0.1", &port, "", "0", "5000", "KEYS"];
    arguments.extend(keys.iter().map(String::as_str));
    let _: Value = run(cluster, from, "MIGRATE", &arguments).await;
    hold.await;
    cluster.end_migration(slot, to).await;
}

async fn run<R: FromValue>(
    cluster: &Cluster,
    index: usize,
    command: &'static str,
    arguments: &[&str],
) -> R {
    let name = CustomCommand::new_static(command, ClusterHash::Random, false);
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let result = cluster.admin(index).custom(name, arguments).await;
    result.expect(command)
}
