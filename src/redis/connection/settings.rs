//! fred's settings for each connection and each command.

use std::time::Duration;

use fred::types::{
    Builder,
    config::{Config, ConnectionConfig, Options, ReconnectPolicy},
};

use crate::error::Error;

/// What every command of this crate is sent with, also on a client that the application made.
#[derive(Debug)]
pub(crate) struct CommandOptions {
    pub(crate) deadline: Duration,
    pub(crate) options: Options,
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
        Self { deadline, options }
    }
}

/// How long a connection waits for answers, and for work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) deadline: Duration,
    /// How often a `PING` keeps it open when there is nothing else to send.
    pub(crate) heartbeat: Duration,
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
