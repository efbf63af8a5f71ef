//! A blocking read of a stream, on a connection of its own: other commands would wait behind it.

use std::{fmt, time::Duration};

use fred::{
    error::{Error as FredError, ErrorKind},
    interfaces::ClientLike,
    types::{ClusterHash, CustomCommand, Value, config::Options},
};
use tokio::time::timeout;

use super::handle::Redis;
use crate::{
    error::Error,
    redis::connection::{dedicated::Dedicated, fred_error::classify, settings::CommandOptions},
};

/// A connection that waits for new entries of a stream.
pub(crate) struct Tail {
    connection: Dedicated,
    deadline: Duration,
}

impl Redis {
    /// A connection to the server that has `key`; `None` when it is not known which server that is.
    pub(crate) async fn tail(&self, key: &str) -> Result<Option<Tail>, Error> {
        // The clone of a cluster client would connect to every server.
        let client = self.deployment().client_for(key);
        let Some(client) = client.filter(|client| !client.is_clustered()) else {
            return Ok(None);
        };
        let tail = Tail {
            connection: Dedicated::open(client.clone_new()),
            deadline: self.deadline(),
        };
        tail.connection.connected().await?;
        Ok(Some(tail))
    }
}

impl Tail {
    /// `XREAD COUNT 1 BLOCK time STREAMS key after`: true as soon as there is an entry after that id, false after `time`.
    ///
    /// After an error the connection cannot be used any more.
    pub(crate) async fn wait(&self, key: &str, after: &str, time: Duration) -> Result<bool, Error> {
        let limit = time + self.deadline;
        let options = Options {
            timeout: Some(limit),
            ..CommandOptions::new(limit).options
        };
        let client = self.connection.client.with_options(&options);
        let command = CustomCommand::new_static("XREAD", ClusterHash::from(key), true);
        let millis = time.as_millis().to_string();
        let words = ["COUNT", "1", "BLOCK", &millis, "STREAMS", key, after].map(Value::from);
        let reply = client.custom::<Value, _>(command, words.to_vec());
        // fred's own timeout comes first, unless its task has ended.
        let reply = timeout(limit + self.deadline, reply).await;
        let silence = || FredError::new(ErrorKind::Timeout, "no answer to a blocking read");
        let reply = reply.unwrap_or_else(|_| Err(silence())).map_err(classify)?;
        Ok(reply != Value::Null)
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").finish_non_exhaustive()
    }
}
