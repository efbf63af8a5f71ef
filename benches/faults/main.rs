//! All three layers under load while Redis is killed, stopped, cut off, moved and overwritten.
//!
//! ```text
//! make faults
//! ```
//!
//! 64 visitors send requests to an axum application at a steady rate. Its pages are cached, its visits use sessions, and
//! some routes are limited. Then a fault happens to Redis. One row tells what came of the requests, and which promises were
//! not kept.
//!
//! The application is called as a tower service, without HTTP: an HTTP client and server on the same machine would add more
//! time than what is measured here while the breaker is open. The connections to Redis are real, over loopback, and so are
//! the faults.
//!
//! With the word `soak` after `--`, one server suffers one fault after the other under the same load: `make soak`. Another
//! word runs only the faults whose name contains it. `STOP_SECONDS` is how long a server is stopped; default 3.

#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "shared with the integration tests, which use all of it"
)]
#[path = "../../tests/it/support/mod.rs"]
mod support;

mod case;
mod downs;
mod logs;
mod memos;
mod observed;
mod process;
mod promises;
mod report;
mod row;
mod run;
mod soak;
mod topologies;

use std::time::Duration;

use support::{
    failover::{ClusterFault, SentinelFault},
    fault::{Fault, Rig},
};

use row::Expected;
use run::Run;

#[tokio::main]
async fn main() {
    process::count_panics();
    process::watch_machine();
    logs::Lines::watch();
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default()
        .to_lowercase();
    if wanted == "soak" {
        std::process::exit(i32::from(soak::soak().await));
    }
    // Allocates what is allocated once, before the memory is measured.
    suffer(Fault::Slow).await;

    let is_wanted = |name: &str| name.contains(&wanted);
    let sentinels = [SentinelFault::Planned, SentinelFault::Killed];
    let of_cluster = ClusterFault::ALL.map(topologies::cluster_name);
    let names = Fault::ALL.map(name).into_iter();
    let mut names = names
        .chain(sentinels.map(topologies::sentinel_name))
        .chain(of_cluster);
    if names.any(is_wanted) {
        report::head();
    }
    let mut missed = false;
    for fault in Fault::ALL {
        if is_wanted(name(fault)) {
            missed |= report::line(&suffer(fault).await);
        }
    }
    for fault in sentinels {
        if is_wanted(topologies::sentinel_name(fault)) {
            missed |= report::line(&topologies::suffer(fault).await);
        }
    }
    if of_cluster.into_iter().any(is_wanted) {
        for row in topologies::suffer_in_cluster().await {
            missed |= report::line(&row);
        }
    }
    if promises::NAMES.into_iter().any(is_wanted) {
        case::head();
    }
    for name in promises::NAMES {
        if is_wanted(name) {
            missed |= promises::suffer(name).await;
        }
    }
    report::foot(missed);
}

/// One fault of one server.
async fn suffer(fault: Fault) -> row::Row {
    let rig = Rig::start(observed::DEADLINE).await;
    let run = Run::start(&rig.redis).await;
    let begun = run.mark();
    rig.suffer(fault, tokio::time::sleep(duration(fault))).await;
    run.finish(expected(fault), begun, |_| None).await
}

fn expected(fault: Fault) -> Expected {
    Expected {
        name: name(fault),
        losses: fault.losses(),
        loses_sessions: fault.loses_sessions(),
        loses_writes: fault.losses() > 0,
        is_harmless: fault.is_harmless(),
        most_downs: most_downs(fault),
    }
}

fn duration(fault: Fault) -> Duration {
    match fault {
        Fault::Stopped => {
            let seconds = std::env::var("STOP_SECONDS").ok();
            Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(3))
        }
        // The fault lasts until the data is loaded.
        Fault::Loading => Duration::ZERO,
        Fault::Paused => Duration::from_secs(2),
        _ => Duration::from_millis(1500),
    }
}

fn most_downs(fault: Fault) -> Option<usize> {
    match fault {
        // One outage, however many of the commands are answered meanwhile.
        Fault::Paused => Some(1),
        _ if fault.is_harmless() => Some(0),
        _ => None,
    }
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::Killed => "kill -9, restart",
        Fault::Stopped => "sigstop",
        Fault::Paused => "client pause write",
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
