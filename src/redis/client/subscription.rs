//! A subscription to one channel, on a connection of its own: in RESP2, a subscribed connection takes no other commands.

use std::{fmt, time::Duration};

use fred::{
    error::Error as FredError,
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    types::{Message, RespVersion, Value, config::Server},
};
use tokio::{
    select,
    sync::broadcast::{Receiver, error::RecvError},
    time::{sleep, timeout},
};

use super::handle::Redis;
use crate::{
    error::{Error, Kind},
    redis::connection::{
        dedicated::{DEDICATED_TIMEOUT, Dedicated},
        fred_error::classify,
    },
};

/// A connection that is subscribed to one channel.
pub(crate) struct Subscription {
    connection: Dedicated,
    channel: String,
    messages: Receiver<Message>,
    errors: Receiver<(FredError, Option<Server>)>,
}

/// What a subscription heard.
pub(crate) enum Heard {
    Message(String),
    /// Some messages are lost: they came faster than they were read.
    Missed,
    /// The connection cannot be used any more.
    Lost,
}

impl Redis {
    /// Subscribes to `channel`; `None` for a cluster client of the application, whose clone would connect to every server.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<Option<Subscription>, Error> {
        // A cluster sends each message to all its servers.
        let client = self.deployment().any_client();
        let client =
            client.ok_or_else(|| Error::new(Kind::Unavailable, "redis does not answer"))?;
        if client.is_clustered() {
            return Ok(None);
        }
        let client = client.clone_new();
        let subscription = Subscription {
            messages: client.message_rx(),
            errors: client.error_rx(),
            connection: Dedicated::open(client),
            channel: channel.to_owned(),
        };
        subscription.connection.connected().await?;
        subscription.confirm().await?;
        Ok(Some(subscription))
    }
}

impl Subscription {
    /// Waits for the next message.
    pub(crate) async fn next(&mut self) -> Heard {
        loop {
            let message = select! {
                message = self.messages.recv() => message,
                _ = self.errors.recv() => return Heard::Lost,
                () = sleep(CONFIRM_INTERVAL) => {
                    // The connection may be open although the server is gone.
                    if self.confirm().await.is_err() {
                        return Heard::Lost;
                    }
                    continue;
                }
            };
            match message {
                Ok(message) if &*message.channel == self.channel.as_str() => {
                    return Heard::Message(message.value.into_string().unwrap_or_default());
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return Heard::Missed,
                Err(RecvError::Closed) => return Heard::Lost,
            }
        }
    }

    /// Sends `SUBSCRIBE channel`, which changes nothing if it is subscribed already, and `PING`.
    async fn confirm(&self) -> Result<(), Error> {
        let client = &self.connection.client;
        let confirmed = async {
            client.subscribe(self.channel.as_str()).await?;
            // fred does not wait for the answer to SUBSCRIBE: an error becomes the answer to the next command, or is lost.
            client.ping::<Value>(None).await
        };
        let answer = match timeout(DEDICATED_TIMEOUT, confirmed).await {
            Ok(answer) => answer.map_err(classify)?,
            Err(_) => return Err(Error::new(Kind::Timeout, "no answer to a subscription")),
        };
        // In RESP2, a subscribed connection answers PING with a list.
        if client.protocol_version() == RespVersion::RESP2 && !answer.is_array() {
            return Err(Error::new(
                Kind::Auth,
                "the redis user may not subscribe to the channel",
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

const CONFIRM_INTERVAL: Duration = Duration::from_secs(30);
