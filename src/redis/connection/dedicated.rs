//! A connection for a single use: for a blocking read or a subscription, behind which other commands would wait.

use std::time::Duration;

use fred::{clients::Client, interfaces::ClientLike, types::ConnectHandle};
use tokio::time::timeout;

use super::fred_error::classify;
use crate::error::{Error, Kind};

/// A client with a connection of its own, which closes when this is dropped.
pub(crate) struct Dedicated {
    pub(crate) client: Client,
    router: ConnectHandle,
}

impl Dedicated {
    /// Starts to connect a client that is not connected yet.
    pub(crate) fn open(client: Client) -> Self {
        Self {
            router: client.connect(),
            client,
        }
    }

    /// Waits until it is connected.
    pub(crate) async fn connected(&self) -> Result<(), Error> {
        match timeout(DEDICATED_TIMEOUT, self.client.wait_for_connect()).await {
            Ok(connected) => connected.map_err(classify),
            Err(_) => Err(Error::new(Kind::Timeout, "no connection to redis")),
        }
    }
}

impl Drop for Dedicated {
    fn drop(&mut self) {
        // fred's task and socket outlive the client unless they are ended.
        self.router.abort();
    }
}

/// How long it may take to connect, or to answer a command that does not block.
pub(crate) const DEDICATED_TIMEOUT: Duration = Duration::from_secs(1);
