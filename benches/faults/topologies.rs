//! The faults of sentinels and of a cluster, under the same load.

use std::time::Duration;

use tokio::time::sleep;
use tower_fred::{Redis, fred::util::redis_keyslot};

use crate::{
    row::{Expected, Row},
    run::Run,
    support::{
        failover::{ClusterFault, SentinelFault},
        load::Sample,
        topology::{Cluster, Sentinels},
    },
};

pub(crate) async fn suffer(fault: SentinelFault) -> Row {
    let sentinels = Sentinels::start().await;
    let redis = sentinels.redis().await;
    let run = Run::start(&redis).await;
    let begun = run.mark();
    fault.happen(&sentinels).await;
    let expected = Expected {
        name: sentinel_name(fault),
        // The replica lacks the writes that the primary had not sent yet.
        losses: 1,
        loses_sessions: false,
        loses_writes: true,
        is_harmless: false,
        most_downs: None,
    };
    run.finish(expected, begun, |_| None).await
}

/// One cluster for all faults, since it takes long to start.
pub(crate) async fn suffer_in_cluster() -> Vec<Row> {
    let cluster = Cluster::start().await;
    // By default all shards refuse commands while one has no primary.
    cluster.config("cluster-require-full-coverage", "no").await;
    let redis = cluster.redis().await;
    let mut rows = Vec::new();
    for fault in ClusterFault::ALL {
        let run = Run::start(&redis).await;
        let begun = run.mark();
        fault.happen(&cluster, run.load(), sleep(HALF_WAY)).await;
        let expected = Expected {
            name: cluster_name(fault),
            losses: u32::from(fault != ClusterFault::Migration),
            loses_sessions: false,
            loses_writes: fault == ClusterFault::Killed,
            is_harmless: false,
            most_downs: None,
        };
        let others = |sample: &Sample| {
            let shard = shard(&redis, sample)?;
            (shard != fault.shard()).then_some(shard)
        };
        rows.push(run.finish(expected, begun, others).await);
    }
    rows
}

pub(crate) fn sentinel_name(fault: SentinelFault) -> &'static str {
    match fault {
        SentinelFault::Planned => "sentinel failover",
        SentinelFault::Killed => "sentinel kill -9",
    }
}

pub(crate) fn cluster_name(fault: ClusterFault) -> &'static str {
    match fault {
        ClusterFault::Migration => "cluster slot migration",
        ClusterFault::Planned => "cluster failover",
        ClusterFault::Killed => "cluster kill -9",
    }
}

/// The shard that has the session of the visitor; `None` for requests without a session.
fn shard(redis: &Redis, sample: &Sample) -> Option<usize> {
    if sample.session.is_empty() {
        return None;
    }
    let key = format!("{}:s:{{{}}}", redis.namespace(), sample.session);
    Some(Cluster::owner(redis_keyslot(key.as_bytes())))
}

const HALF_WAY: Duration = Duration::from_secs(1);
