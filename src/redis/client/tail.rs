//! Waiting for what is added to a stream, on a connection of its own: whoever waits holds up everybody behind him.

use std::{fmt, time::Duration};

use fred::{
    clients::Client,
    error::{Error as FredError, ErrorKind},
    interfaces::ClientLike,
    types::{ClusterHash, ConnectHandle, CustomCommand, Value, config::Options},
};
use tokio::time::timeout;

use super::client::{Deployment, Redis};
use crate::error::{Error, Kind};
use crate::redis::{connection::failure::classify, options::Bounds};

/// A connection that waits for one stream.
pub(crate) struct Tail {
    client: Client,
    router: ConnectHandle,
    deadline: Duration,
}

impl Redis {
    /// A connection to the server that has `key`; `None` when that cannot be told before asking.
    pub(crate) async fn tail(&self, key: &str) -> Result<Option<Tail>, Error> {
        let client = match &self.inner.deployment {
            Deployment::Single(node) => node.client(),
            Deployment::Cluster(cluster, _) => match cluster.node(key) {
                Some(node) => node.client(),
                None => return Ok(None),
            },
        };
        // A cluster client of the application would connect to every server.
        if client.is_clustered() {
            return Ok(None);
        }
        let client = client.clone_new();
        let tail = Tail {
            router: client.connect(),
            client,
            deadline: self.deadline(),
        };
        match timeout(CONNECT_TIMEOUT, tail.client.wait_for_connect()).await {
            Ok(Ok(())) => Ok(Some(tail)),
            Ok(Err(error)) => Err(classify(error)),
            Err(_) => Err(Error::new(Kind::Timeout, "no connection to redis")),
        }
    }
}

impl Tail {
    /// `XREAD COUNT 1 BLOCK time STREAMS key after`: true as soon as there is an entry after that id, false after `time`.
    ///
    /// After an error the connection is of no more use.
    pub(crate) async fn wait(&self, key: &str, after: &str, time: Duration) -> Result<bool, Error> {
        let limit = time + self.deadline;
        let options = Options {
            timeout: Some(limit),
            ..Bounds::new(limit).options
        };
        let client = self.client.with_options(&options);
        let command = CustomCommand::new_static("XREAD", ClusterHash::from(key), true);
        let millis = time.as_millis().to_string();
        let words = ["COUNT", "1", "BLOCK", &millis, "STREAMS", key, after].map(Value::from);
        let reply = client.custom::<Value, _>(command, words.to_vec());
        // fred's own timeout is the shorter one, unless its task is gone.
        let reply = timeout(limit + self.deadline, reply).await;
        let silence = || FredError::new(ErrorKind::Timeout, "no end of a wait");
        let reply = reply.unwrap_or_else(|_| Err(silence())).map_err(classify)?;
        Ok(reply != Value::Null)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // fred's task and socket outlive the client unless they are ended.
        self.router.abort();
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").finish_non_exhaustive()
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
