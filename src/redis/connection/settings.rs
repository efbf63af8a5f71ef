//! fred's settings for each connection and each command.

use std::time::Duration;

use fred::types::{
    Builder,
    config::{Config, ConnectionConfig, Options, ReconnectPolicy, Server},
};

use tokio::time::Instant;

#[cfg(feature = "tls")]
use super::tls::Trust;
use crate::error::Error;

/// What every command of this crate is sent with, also on a client that the application made.
#[derive(Debug)]
pub(crate) struct CommandOptions {
    pub(crate) deadline: Duration,
    pub(crate) options: Options,
    /// Whether it has less than the whole deadline of its caller.
    is_rest: bool,
}

impl CommandOptions {
    pub(crate) fn new(deadline: Duration) -> Self {
        let options = Options {
            // A command whose connection broke may have run: a second attempt would count it twice.
            max_attempts: Some(1),
            // While fred follows an ASK redirection, callers may get each other's replies.
            max_redirections: Some(0),
            timeout: Some(deadline),
            fail_fast: true,
            ..Options::default()
        };
        Self {
            deadline,
            options,
            is_rest: false,
        }
    }

    /// With the time until then, but never without a limit, as fred takes zero.
    pub(crate) fn until(until: Instant) -> Self {
        let left = until.saturating_duration_since(Instant::now());
        Self {
            is_rest: true,
            ..Self::new(left.max(Duration::from_millis(1)))
        }
    }

    /// Whether a command without an answer says something about the server: not if most of its time was over when it was
    /// sent, as after this process could not run for a while.
    pub(crate) fn is_long_enough(&self) -> bool {
        !self.is_rest || self.deadline >= LEAST_REST
    }
}

/// Longer than a server takes that is not overloaded.
const LEAST_REST: Duration = Duration::from_millis(20);

/// How long a connection waits for answers, and for work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) deadline: Duration,
    /// How often a `PING` keeps it open when there is nothing else to send.
    pub(crate) heartbeat: Duration,
}

/// How servers are connected to.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    Tls(Box<Trust>),
}

#[cfg_attr(
    not(feature = "tls"),
    allow(unused_variables, reason = "plain text needs no names")
)]
impl Transport {
    pub(crate) fn is_secure(&self) -> bool {
        !matches!(self, Self::Plain)
    }

    /// The server at `host`, which may be an address, and `name` its name if another server told it.
    pub(crate) fn server(&self, host: &str, port: u16, name: Option<&str>) -> Server {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(trust) if host.parse::<std::net::IpAddr>().is_ok() => {
                Server::new_with_tls(host, port, trust.name_of(name))
            }
            _ => Server::new(host, port),
        }
    }

    /// Completes the settings for a connection to `server`; without one, for those that fred chooses itself.
    pub(crate) fn complete(&self, config: &mut Config, server: Option<&Server>) {
        match self {
            Self::Plain => {}
            #[cfg(feature = "tls")]
            Self::Tls(trust) => {
                let host = server.map(|server| &*server.host);
                let name = server.and_then(|server| server.tls_server_name.as_deref());
                let names: Vec<&str> = host.into_iter().chain(name).collect();
                config.tls = Some(trust.settings(&names));
            }
        }
    }
}

pub(crate) fn check_deadline(deadline: Duration) -> Result<(), Error> {
    if !(Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&deadline) {
        return Err(Error::config("deadline must be 1 ms to 1 hour"));
    }
    Ok(())
}

/// Makes clients of the server in `config`. They wait for a connection that is not there yet.
pub(crate) fn client_builder(config: Config, deadline: Duration) -> Builder {
    let mut builder = Builder::from_config(config);
    builder
        .set_policy(reconnect_policy())
        .with_performance_config(|config| {
            config.default_command_timeout = deadline;
            config.broadcast_channel_capacity = 1024;
        })
        .with_connection_config(configure_connection)
        .with_config(|config| config.fail_fast = false);
    builder
}

fn reconnect_policy() -> ReconnectPolicy {
    let mut policy = ReconnectPolicy::new_exponential(0, 10, 250, 2);
    policy.set_jitter(10);
    policy
}

fn configure_connection(config: &mut ConnectionConfig) {
    config.max_command_attempts = 1;
    config.max_redirections = 0;
    // With any other value, the client may stop sending or end.
    config.max_command_buffer_len = 0;
    config.connection_timeout = Duration::from_millis(500);
    config.internal_command_timeout = Duration::from_millis(500);
    config.tcp.nodelay = Some(true);
    // Each refused write would fail everything in flight; what such an error means is found out beside the connection.
    config.reconnect_errors = Vec::new();
}
