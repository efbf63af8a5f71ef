//! Whether Redis answers, as one state for all layers.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::stall::Stalls;

/// Whether commands reach Redis. [`Redis::health`](crate::Redis::health) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Commands are sent.
    Up,
    /// Some servers of a cluster stopped answering. Commands for their keys fail at once, the others are sent.
    Partial,
    /// Redis stopped answering. Commands fail at once until it answers a probe.
    Down,
}

/// The health of all servers of a handle together.
#[derive(Debug)]
pub(crate) struct OverallHealth {
    health: watch::Sender<Health>,
    servers: Mutex<Servers>,
    stalls: Arc<Stalls>,
}

#[derive(Debug, Default)]
struct Servers {
    all: usize,
    down: usize,
}

impl OverallHealth {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            health: watch::Sender::new(Health::Up),
            servers: Mutex::default(),
            stalls: Arc::default(),
        })
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// When this process did nothing.
    pub(super) fn stalls(&self) -> Arc<Stalls> {
        Arc::clone(&self.stalls)
    }

    pub(super) fn add_server(&self) {
        self.change(|servers| servers.all += 1);
    }

    pub(super) fn remove_server(&self, was_down: bool) {
        self.change(|servers| {
            servers.all -= 1;
            servers.down -= usize::from(was_down);
        });
    }

    pub(super) fn server_down(&self) {
        self.change(|servers| servers.down += 1);
    }

    pub(super) fn server_up(&self) {
        self.change(|servers| servers.down -= 1);
    }

    fn change(&self, change: impl FnOnce(&mut Servers)) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut servers);
        let health = match *servers {
            Servers { down: 0, .. } => Health::Up,
            Servers { all, down } if down == all => Health::Down,
            Servers { .. } => Health::Partial,
        };
        self.health
            .send_if_modified(|current| std::mem::replace(current, health) != health);
    }
}
