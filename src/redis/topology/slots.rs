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
    redis::connection::{fred_error::classify, settings::Transport},
};

/// The slots of a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    /// First slot, last slot and primary of each range, in order.
    ranges: Vec<(u16, u16, Server)>,
    /// Whether some primary has no host in the answer, as one that does not know its own.
    unnamed: bool,
}

impl Slots {
    /// Sends `CLUSTER SLOTS`. `asked` is the host of the server, used where its reply leaves out its own.
    pub(crate) async fn ask(
        client: &Client,
        deadline: Duration,
        asked: &str,
        transport: &Transport,
    ) -> Result<Self, Error> {
        let command = CustomCommand::new_static("CLUSTER", ClusterHash::Random, false);
        let reply = timeout(deadline, client.custom::<Value, _>(command, vec!["SLOTS"])).await;
        let reply = reply
            .map_err(|_| Error::new(Kind::Timeout, "no answer from redis within the deadline"))?
            .map_err(classify)?;
        Self::read(&reply, asked, transport)
    }

    fn read(reply: &Value, asked: &str, transport: &Transport) -> Result<Self, Error> {
        let (mut ranges, mut unnamed) = (Vec::new(), false);
        for range in array(reply) {
            let [first, last, primary, ..] = array(range) else {
                continue;
            };
            let [host, port, more @ ..] = array(primary) else {
                continue;
            };
            let number =
                |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
            if let (Some(first), Some(last), Some(port)) =
                (number(first), number(last), number(port))
            {
                let host = host.as_str().filter(|host| is_known(host));
                unnamed |= host.is_none();
                let host = host.as_deref().unwrap_or(asked);
                let name = more.get(1).and_then(hostname);
                let server = transport.server(host, port, name.as_deref());
                ranges.push((first, last, server));
            }
        }
        if ranges.is_empty() {
            return Err(Error::new(Kind::Unavailable, "the cluster has no slots"));
        }
        ranges.sort_unstable_by_key(|(first, _, _)| *first);
        Ok(Self { ranges, unnamed })
    }

    /// The primary that has `key`.
    pub(crate) fn owner(&self, key: &str) -> Option<&Server> {
        let slot = redis_keyslot(key.as_bytes());
        let place = self.ranges.partition_point(|(_, last, _)| *last < slot);
        let (first, _, server) = self.ranges.get(place)?;
        (*first <= slot).then_some(server)
    }

    /// Whether some primary is known only by the host that was asked.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.unnamed
    }

    /// The primary of each range of slots, so one primary may come more than once.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        self.ranges.iter().map(|(_, _, server)| server)
    }
}

/// Whether a server told a host. It tells none for itself before it has learnt its address.
pub(crate) fn is_known(host: &str) -> bool {
    !host.is_empty() && host != "?"
}

/// The name in what a server tells of another besides its address: `["hostname", "redis-1.example"]`, or a map.
fn hostname(more: &Value) -> Option<String> {
    let name = match more {
        Value::Map(fields) => fields.get(&"hostname".into())?.as_string(),
        more => {
            let mut pairs = array(more).chunks_exact(2);
            let pair = pairs.find(|pair| pair[0].as_str().is_some_and(|key| key == "hostname"))?;
            pair[1].as_string()
        }
    };
    name.filter(|name| is_known(name))
}

fn array(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(host: Value, more: &[&str]) -> Value {
        let more = more.iter().copied().map(Value::from).collect();
        let primary = vec![host, 7000.into(), "id".into(), Value::Array(more)];
        Value::Array(vec![0.into(), 16383.into(), Value::Array(primary)])
    }

    fn read(host: Value, more: &[&str]) -> Slots {
        let reply = Value::Array(vec![range(host, more)]);
        Slots::read(&reply, "asked", &Transport::Plain).expect("slots")
    }

    #[test]
    fn a_primary_without_a_host_is_the_server_that_was_asked() {
        for host in ["".into(), "?".into(), Value::Null] {
            let slots = read(host, &[]);
            assert!(slots.is_unnamed());
            assert_eq!(slots.owner("k"), Some(&Server::new("asked", 7000)));
        }
        let slots = read("10.0.0.1".into(), &["hostname", "h"]);
        assert!(!slots.is_unnamed());
        assert_eq!(slots.owner("k"), Some(&Server::new("10.0.0.1", 7000)));
    }

    #[test]
    fn the_name_is_found_among_other_metadata() {
        let text = |words: &[&str]| {
            let words = words.iter().copied().map(Value::from).collect();
            hostname(&Value::Array(words))
        };
        assert_eq!(text(&["hostname", "h"]).as_deref(), Some("h"));
        assert_eq!(
            text(&["ip", "10.0.0.1", "hostname", "h"]).as_deref(),
            Some("h")
        );
        for none in [
            &["hostname", ""][..],
            &["hostname", "?"],
            &["ip", "hostname"],
            &["hostname"],
            &[],
        ] {
            assert_eq!(text(none), None, "{none:?}");
        }
        assert_eq!(hostname(&Value::Null), None);
    }
}
