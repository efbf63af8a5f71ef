//! What follows when a server refuses writes because it is a replica.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use super::role::Role;
use crate::{
    log_pace::{LogPace, uptime},
    redis::connection::{
        link::Link,
        task::{Task, Turn},
    },
};

/// Whether a server refuses writes, and the task that finds out when that is over, or who takes them.
#[derive(Debug, Default)]
pub(crate) struct Demotion {
    task: Task,
    /// Whether a command was refused since the last look.
    refused: Arc<AtomicBool>,
}

impl Demotion {
    /// Looks in the background for a primary, unless that is being done already: called when a command was refused.
    pub(crate) fn suspect(&self, links: &[Arc<Link>]) {
        self.refused.store(true, Ordering::Relaxed);
        if let Some(turn) = self.task.begin() {
            let links = links.iter().map(Arc::downgrade).collect();
            tokio::spawn(look(turn, links, Arc::clone(&self.refused)));
        }
    }
}

/// Looks every 250 ms until the server is a primary, or commands go to one that is. What is in flight goes on.
async fn look(turn: Turn, links: Vec<Weak<Link>>, refused: Arc<AtomicBool>) {
    let mut is_known = false;
    loop {
        let mut alive = links.iter().filter_map(Weak::upgrade);
        let Some(first) = alive.next() else { return };
        let found = match Role::ask(&first.client(), ROLE_TIMEOUT).await {
            Role::Primary => true,
            // Nobody asks for writes now; what else is unwell is for the breaker to find out.
            _ if !refused.swap(false, Ordering::Relaxed) => false,
            role => {
                if !std::mem::replace(&mut is_known, true) {
                    log_refusal(role);
                }
                first.relocate().await
            }
        };
        if found {
            for link in alive {
                if Role::ask(&link.client(), ROLE_TIMEOUT).await != Role::Primary {
                    link.relocate().await;
                }
            }
            if is_known {
                log_return();
            }
            // As often as every 250 ms at most, whatever the server says.
            sleep(INTERVAL).await;
            drop(turn);
            return;
        }
        drop((first, alive));
        sleep(INTERVAL).await;
    }
}

fn log_refusal(role: Role) {
    static PACE: LogPace = LogPace::new();
    if let Some(omitted) = PACE.admit(uptime()) {
        tracing::warn!(target: "tower_fred::redis", ?role, omitted, "redis refuses writes: looking for the primary");
    }
}

fn log_return() {
    static PACE: LogPace = LogPace::new();
    if let Some(omitted) = PACE.admit(uptime()) {
        tracing::warn!(target: "tower_fred::redis", omitted, "redis takes writes again");
    }
}

const INTERVAL: Duration = Duration::from_millis(250);
const ROLE_TIMEOUT: Duration = Duration::from_millis(500);
