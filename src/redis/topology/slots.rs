//! The hash slots of a cluster, and the primary that has each.

use std::time::Duration;

use fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{ClusterHash, CustomCommand, Value, config::Server},
    util::redis_keyslot,
};
use tokio::time::timeout;

use crate::{
    error::{Error, Kind},
    redis::connection::fred_error::classify,
};

/// The slots of a cluster: first slot, last slot and primary of each range, in order.
#[derive(Debug, Default)]
pub(crate) struct Slots(Vec<(u16, u16, Server)>);

impl Slots {
    /// Sends `CLUSTER SLOTS`. `asked` is the host of the server, used where its reply leaves out its own.
    pub(crate) async fn ask(
        client: &Client,
        deadline: Duration,
        asked: &str,
    ) -> Result<Self, Error> {
        let command = CustomCommand::new_static("CLUSTER", ClusterHash::Random, false);
        let reply = timeout(deadline, client.custom::<Value, _>(command, vec!["SLOTS"])).await;
        let reply = reply
            .map_err(|_| Error::new(Kind::Timeout, "no answer from redis within the deadline"))?
            .map_err(classify)?;
        Self::read(&reply, asked)
    }

    fn read(reply: &Value, asked: &str) -> Result<Self, Error> {
        let mut ranges = Vec::new();
        for range in array(reply) {
            let [first, last, primary, ..] = array(range) else {
                continue;
            };
            let [host, port, ..] = array(primary) else {
                continue;
            };
            let number =
                |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
            if let (Some(first), Some(last), Some(port)) =
                (number(first), number(last), number(port))
            {
                let host = host.as_str().filter(|host| !host.is_empty() && host != "?");
                ranges.push((
                    first,
                    last,
                    Server::new(host.as_deref().unwrap_or(asked), port),
                ));
            }
        }
        if ranges.is_empty() {
            return Err(Error::new(Kind::Unavailable, "the cluster has no slots"));
        }
        ranges.sort_unstable_by_key(|(first, _, _)| *first);
        Ok(Self(ranges))
    }

    /// The primary that has `key`.
    pub(crate) fn owner(&self, key: &str) -> Option<&Server> {
        let slot = redis_keyslot(key.as_bytes());
        let place = self.0.partition_point(|(_, last, _)| *last < slot);
        let (first, _, server) = self.0.get(place)?;
        (*first <= slot).then_some(server)
    }

    /// The primary of each range of slots, so one primary may come more than once.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        self.0.iter().map(|(_, _, server)| server)
    }
}

fn array(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        _ => &[],
    }
}
