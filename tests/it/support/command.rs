//! Any Redis command, for what the harness itself tells and asks a server.

use tower_fred::fred::{
    clients::Client,
    error::Error,
    interfaces::ClientLike,
    types::{ClusterHash, CustomCommand, FromValue},
};

/// Sends a command to the server of `client`.
pub async fn run<R: FromValue>(
    client: &Client,
    command: &'static str,
    arguments: &[&str],
) -> Result<R, Error> {
    let command = CustomCommand::new_static(command, ClusterHash::Random, false);
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    client.custom(command, arguments).await
}
