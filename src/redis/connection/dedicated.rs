//! A connection for one purpose, for commands that hold up all others on it: a blocking read, a subscription.

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
    /// Begins to connect a client that was not connected yet.
    pub(crate) fn open(client: Client) -> Self {
        Self {
            router: client.connect(),
            client,
        }
    }

    /// Waits until the connection is there.
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

/// How long a dedicated connection may take to be made, or to answer what is not meant to wait.
pub(crate) const DEDICATED_TIMEOUT: Duration = Duration::from_secs(1);
