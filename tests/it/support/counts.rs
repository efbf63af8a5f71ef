//! How often a server ran each command, by its own statistics.

use std::{collections::BTreeMap, fmt};

use tower_fred::fred::{clients::Client, interfaces::ClientLike, types::InfoKind};

/// The number of calls of each command.
#[derive(Clone, PartialEq, Eq)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// How often `command` ran, by its lower-case name.
    pub fn of(&self, command: &str) -> u64 {
        self.0.get(command).copied().unwrap_or(0)
    }

    /// All commands that clients sent, without those that scripts ran.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    pub async fn read(client: &Client) -> Self {
        let info: String = client
            .info(Some(InfoKind::CommandStats))
            .await
            .expect("commandstats");
        let mut all: BTreeMap<String, u64> = info
            .lines()
            .filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="))
            .map(|(command, rest)| {
                let calls = rest.split(',').next().and_then(|calls| calls.parse().ok());
                (command.to_owned(), calls.expect("a number of calls"))
            })
            .collect();
        // The script that reads the purge log runs each of these once.
        let reads = all.get("xrange").copied().unwrap_or(0);
        for command in ["evalsha", "pexpire", "time"] {
            if let Some(calls) = all.get_mut(command) {
                *calls = calls.saturating_sub(reads);
            }
        }
        all.retain(|command, _| !OWN_COMMANDS.contains(&command.as_str()));
        Self(all)
    }

    pub fn since(mut self, before: &Self) -> Self {
        for (command, calls) in &mut self.0 {
            *calls = calls.saturating_sub(before.of(command));
        }
        self.0.retain(|_, calls| *calls > 0);
        self
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is not counted: what clients send when they connect, what reads the purge log, and the counting itself.
const OWN_COMMANDS: [&str; 11] = [
    "auth",
    "client|id",
    "client|setinfo",
    "client|setname",
    "hello",
    "info",
    "ping",
    "quit",
    "select",
    "xrange",
    "xread",
];
