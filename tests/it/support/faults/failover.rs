//! Faults of one server in a group: a primary that is replaced, a shard that moves.

use std::future::Future;

use tower_fred::fred::{types::Value, util::redis_keyslot};

use super::{
    super::{
        command::run,
        patience::{patiently, until},
        topology::{Cluster, Sentinels},
    },
    load::Load,
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
        until("another primary", async || sentinels.primary().await != old).await;
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
    /// In the order in which they happen: each harms a shard that the ones before did not harm.
    pub const ALL: [Self; 3] = [Self::Migration, Self::Planned, Self::Killed];

    /// The primary that it happens to.
    pub fn shard(self) -> usize {
        match self {
            Self::Migration => 2,
            Self::Planned => 0,
            Self::Killed => 1,
        }
    }

    /// Returns as soon as there is another primary, or the slot has moved. A moving slot stays half-way for `hold`.
    pub async fn happen(self, cluster: &Cluster, load: &Load, hold: impl Future<Output = ()>) {
        let replica = self.shard() + 3;
        match self {
            Self::Migration => return migrate(cluster, load, (self.shard(), 1), hold).await,
            Self::Planned => cluster.cluster(replica, &["FAILOVER"]).await,
            Self::Killed => cluster.servers[self.shard()].kill(),
        }
        until("a replica that takes over", async || {
            let role: Vec<Value> = run(cluster.admin(replica), "ROLE", &[])
                .await
                .expect("ROLE");
            role.first().and_then(Value::as_string).as_deref() == Some("master")
        })
        .await;
    }
}

/// Moves the slot of a visitor's session with all its keys. It stays half-way for `hold`.
async fn migrate(
    cluster: &Cluster,
    load: &Load,
    (from, to): (usize, usize),
    hold: impl Future<Output = ()>,
) {
    let source = cluster.admin(from);
    // The session of a visitor who has its cookie: only such a visitor notices the move.
    let key = patiently("a session of a visitor", async {
        loop {
            let key: String = run(source, "RANDOMKEY", &[]).await.expect("RANDOMKEY");
            if load.comes_with(&key) {
                break key;
            }
        }
    })
    .await;
    let slot = redis_keyslot(key.as_bytes());
    cluster.begin_migration(slot, to).await;
    let keys = ["GETKEYSINSLOT", &slot.to_string(), "1000"];
    let keys: Vec<String> = run(source, "CLUSTER", &keys).await.expect("CLUSTER");
    let port = cluster.servers[to].port().to_string();
    let mut arguments = vec!["127.0.0.1", &port, "", "0", "5000", "KEYS"];
    arguments.extend(keys.iter().map(String::as_str));
    let _: Value = run(source, "MIGRATE", &arguments).await.expect("MIGRATE");
    hold.await;
    cluster.end_migration(slot, to).await;
}
