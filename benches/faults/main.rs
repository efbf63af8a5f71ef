//! All three layers under load while Redis is killed, stopped, cut off, moved and overwritten.
//!
//! ```text
//! make faults
//! ```
//!
//! 64 visitors ask an axum application at a steady rate: its pages are cached, its visits are sessions, its limits are
//! counted. Then something happens to Redis, and a line tells what the visitors saw of it, beside what was promised.
//!
//! The application is called in process, as the tower service that it is: a client and a server for HTTP on the same
//! machine would add waiting of their own, longer than what is measured here while the breaker is open. The way to Redis
//! is real, over loopback, and so is what happens to it.
//!
//! A word after `--` runs only the faults whose name has it. `STOP_SECONDS` is how long a server is stopped, 3 unless set.

#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "shared with the integration tests, which use all of it"
)]
#[path = "../../tests/it/support/mod.rs"]
mod support;

mod observed;
mod process;
mod report;
mod run;
mod topologies;
mod verdict;

use std::time::Duration;

use support::{
    failover::{ClusterFault, SentinelFault},
    fault::{Fault, Rig},
};

use run::Run;
use verdict::Expected;

#[tokio::main]
async fn main() {
    process::count_panics();
    process::watch_machine();
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default()
        .to_lowercase();
    // What is allocated once is allocated before anything is measured.
    suffer(Fault::Slow).await;

    report::head();
    let mut missed = false;
    for fault in Fault::ALL {
        if name(fault).contains(&wanted) {
            missed |= report::line(&suffer(fault).await);
        }
    }
    for fault in [SentinelFault::Planned, SentinelFault::Killed] {
        if topologies::sentinel_name(fault).contains(&wanted) {
            missed |= report::line(&topologies::suffer(fault).await);
        }
    }
    let names = ClusterFault::ALL.map(topologies::cluster_name);
    if names.iter().any(|name| name.contains(&wanted)) {
        for row in topologies::suffer_in_cluster().await {
            missed |= report::line(&row);
        }
    }
    report::foot(missed);
}

/// One fault of one server.
async fn suffer(fault: Fault) -> verdict::Row {
    let rig = Rig::start(observed::DEADLINE).await;
    let expected = Expected {
        name: name(fault),
        losses: fault.losses(),
        loses_sessions: fault.loses_sessions(),
        loses_writes: fault.losses() > 0,
        is_harmless: fault.is_harmless(),
    };
    let run = Run::start(&rig.redis).await;
    let begun = run.mark();
    rig.suffer(fault, tokio::time::sleep(duration(fault))).await;
    run.finish(expected, begun, |_| None).await
}

fn duration(fault: Fault) -> Duration {
    match fault {
        Fault::Stopped => {
            let seconds = std::env::var("STOP_SECONDS").ok();
            Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(3))
        }
        // It takes as long as reading the data does.
        Fault::Loading => Duration::ZERO,
        _ => Duration::from_millis(1500),
    }
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::Killed => "kill -9, restart",
        Fault::Stopped => "sigstop",
        Fault::BlackHole => "black hole",
        Fault::HalfOpen => "half-open",
        Fault::Reset => "reset per request",
        Fault::Slow => "200 ms latency",
        Fault::Loading => "loading",
        Fault::OutOfMemory => "out of memory",
        Fault::ReadOnly => "read-only",
        Fault::ScriptFlush => "script flush loop",
        Fault::FlushAll => "flushall",
        Fault::Password => "password changed",
        Fault::ClientKill => "client kill loop",
    }
}
