//! All three layers under load during a fault of Redis: each request is answered by the policy of its layer, none with data
//! of another visitor, and after the fault all are served again.
//!
//! `make faults` measures the times.

use std::{collections::BTreeMap, time::Duration};

use tower_fred::Redis;

use crate::support::{
    failover::{ClusterFault, SentinelFault},
    fault::{Fault, Rig},
    load::{Load, Sample},
    server::until_up,
    shop::{Kind, Outcome},
    topology::{Cluster, Sentinels},
};

macro_rules! faults {
    ($($name:ident: $fault:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                check(Fault::$fault).await;
            }
        )*

        #[test]
        fn none_is_left_out() {
            assert_eq!(Fault::ALL, [$(Fault::$fault),*]);
        }
    };
}

faults! {
    a_server_that_is_killed: Killed,
    a_server_that_is_stopped: Stopped,
    a_server_that_pauses_writes: Paused,
    a_black_hole: BlackHole,
    connections_that_are_open_and_dead: HalfOpen,
    connections_that_each_request_resets: Reset,
    answers_that_are_slow: Slow,
    a_server_that_reads_its_data: Loading,
    a_server_without_memory: OutOfMemory,
    a_server_that_became_a_replica: ReadOnly,
    scripts_that_are_flushed: ScriptFlush,
    data_that_is_flushed: FlushAll,
    a_password_that_was_changed: Password,
    connections_that_are_killed: ClientKill,
}

/// Ends the fault when the visitors have seen it, and the load when all are served again.
async fn check(fault: Fault) {
    // If no request may fail, none should fail because the machine is slow.
    let deadline = if fault.is_harmless() { 10_000 } else { 250 };
    let rig = Rig::start(Duration::from_millis(deadline)).await;
    let load = start(&rig.redis, VISITORS).await;
    let allowed = Allowed {
        failures: !fault.is_harmless(),
        sessions: fault.loses_sessions(),
        writes: fault.losses() > 0,
    };
    let shown = allowed.until(&load, |samples| match fault {
        Fault::FlushAll => saw(samples, Kind::Visit, Outcome::SessionLost),
        _ if fault.is_harmless() => are_served(samples),
        _ => {
            let reads_work = fault == Fault::OutOfMemory;
            saw(samples, Kind::Visit, Outcome::Unavailable)
                && saw(samples, Kind::Strict, Outcome::Unavailable)
                && (reads_work || saw(samples, Kind::Page, Outcome::Bypassed))
        }
    });
    rig.suffer(fault, shown).await;
    finish(load, &rig.redis, allowed, fault.losses()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_sentinels_replace() {
    for fault in [SentinelFault::Planned, SentinelFault::Killed] {
        let sentinels = Sentinels::start().await;
        let redis = sentinels.redis().await;
        let load = start(&redis, VISITORS).await;
        fault.happen(&sentinels).await;
        let allowed = Allowed {
            failures: true,
            sessions: false,
            writes: true,
        };
        finish(load, &redis, allowed, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_move_are_replaced_or_die() {
    let cluster = Cluster::start().await;
    cluster.config("cluster-require-full-coverage", "no").await;
    let redis = cluster.redis().await;
    for fault in ClusterFault::ALL {
        // Enough visitors for each shard to have one of their sessions.
        let load = start(&redis, 6 * VISITORS).await;
        let allowed = Allowed {
            failures: true,
            sessions: false,
            writes: fault == ClusterFault::Killed,
        };
        // While the slot moves, its sessions are unavailable.
        let shown = allowed.until(&load, |samples| {
            saw(samples, Kind::Visit, Outcome::Unavailable)
        });
        fault.happen(&cluster, &load, shown).await;
        let losses = u32::from(fault != ClusterFault::Migration);
        finish(load, &redis, allowed, losses).await;
    }
}

/// Which outcomes are allowed besides a normal answer.
#[derive(Clone, Copy)]
struct Allowed {
    failures: bool,
    sessions: bool,
    writes: bool,
}

impl Allowed {
    /// Waits until `wanted` is true of the requests. Fails at the first outcome that is not allowed.
    async fn until(self, load: &Load, wanted: impl Fn(&[Sample]) -> bool) {
        load.until(|samples| {
            samples.iter().for_each(|sample| self.check(sample));
            wanted(samples)
        })
        .await;
    }

    fn check(self, sample: &Sample) {
        let allowed = match (sample.kind, sample.outcome) {
            (_, Outcome::Served) => true,
            (Kind::Limited | Kind::Strict, Outcome::Denied) => true,
            (Kind::Page, Outcome::Bypassed) => self.failures,
            (Kind::Strict | Kind::Visit, Outcome::Unavailable) => self.failures,
            (Kind::Visit, Outcome::SessionLost) => self.sessions,
            (Kind::Visit, Outcome::WriteLost) => self.writes,
            _ => false,
        };
        let (kind, outcome) = (sample.kind, sample.outcome);
        assert!(allowed, "{kind:?}: {outcome:?}");
    }
}

/// Starts a load and waits until all are served.
async fn start(redis: &Redis, visitors: u32) -> Load {
    // The total rate is the same for any number of visitors.
    let pause = Duration::from_micros(625) * visitors;
    let load = Load::start(redis, visitors as usize, pause);
    load.until(are_served).await;
    load.take();
    load
}

/// Waits until all are served again, and checks the outcomes meanwhile and the limits.
async fn finish(load: Load, redis: &Redis, allowed: Allowed, losses: u32) {
    allowed.until(&load, |_| true).await;
    load.take();
    until_up(redis).await;
    allowed.until(&load, are_served).await;
    assert!(load.end(losses).await, "a limit was exceeded");
}

fn saw(samples: &[Sample], kind: Kind, outcome: Outcome) -> bool {
    samples
        .iter()
        .any(|sample| sample.kind == kind && sample.outcome == outcome)
}

/// Whether the last requests of each kind were served, or denied by their limits.
fn are_served(samples: &[Sample]) -> bool {
    let mut in_a_row: BTreeMap<&'static str, usize> = BTreeMap::new();
    for sample in samples {
        let kind = match sample.kind {
            Kind::Bare => continue,
            Kind::Page => "page",
            Kind::Visit => "visit",
            Kind::Limited => "limited",
            Kind::Strict => "strict",
        };
        let served = in_a_row.entry(kind).or_default();
        *served = if sample.outcome.is_failure() {
            0
        } else {
            *served + 1
        };
    }
    in_a_row.len() == 4 && in_a_row.values().all(|served| *served >= 12)
}

const VISITORS: u32 = 16;
