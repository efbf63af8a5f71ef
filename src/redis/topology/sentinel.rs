//! Sentinels: when they name another primary, the connections move to it.
//!
//! fred asks the sentinels only when a connection breaks. In a planned failover the old primary stays connected for about
//! ten seconds, and the writes that it takes are lost. So this subscribes to what the sentinels announce.

use std::{sync::Weak, time::Duration};

use fred::{
    clients::Client,
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    types::{
        Builder,
        config::{Server, ServerConfig},
    },
};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{sleep, timeout},
};

use crate::redis::connection::{
    link::{Link, jittered},
    task::Turn,
};

/// Listens to one sentinel after the other for as long as the links live, and has them connect anew on a switch.
///
/// `_turn` ends with it, so that somebody else can follow in another runtime.
pub(crate) async fn follow(_turn: Turn, mut builder: Builder, links: Vec<Weak<Link>>) {
    let Some(ServerConfig::Sentinel {
        hosts,
        service_name,
        username,
        password,
    }) = builder.get_config().map(|config| config.server.clone())
    else {
        return;
    };
    for host in hosts.iter().cycle() {
        builder.with_config(|config| {
            config.server = ServerConfig::Centralized {
                server: host.clone(),
            };
            // Sentinels have credentials of their own, or none, and no databases.
            (config.username, config.password) = (username.clone(), password.clone());
            config.database = None;
            config.fail_fast = true;
        });
        if let Ok(client) = builder.build() {
            listen(&client, host, &service_name, &links).await;
            // If there is no connection to quit, fred's task ends by itself.
            let _ = timeout(PAUSE, client.quit()).await;
        }
        sleep(jittered(PAUSE)).await;
        if links.iter().all(|link| link.strong_count() == 0) {
            return;
        }
    }
}

/// Returns when the connection to the sentinel is lost, or all links are dropped.
async fn listen(client: &Client, sentinel: &Server, service: &str, links: &[Weak<Link>]) {
    let (mut messages, mut errors) = (client.message_rx(), client.error_rx());
    if client.init().await.is_err() || client.subscribe(SWITCH).await.is_err() {
        tracing::debug!(target: "tower_fred::redis", %sentinel, "a sentinel does not answer");
        return;
    }
    loop {
        let message = tokio::select! {
            message = messages.recv() => message,
            _ = errors.recv() => return,
            () = sleep(LIVES_CHECK) => {
                if links.iter().all(|link| link.strong_count() == 0) {
                    return;
                }
                continue;
            }
        };
        match message {
            // `<service> <old host> <old port> <new host> <new port>`
            Ok(message) => {
                let text = message.value.as_str().unwrap_or_default();
                if text.split(' ').next() != Some(service) {
                    continue;
                }
            }
            // One of the messages that were lost may have been a switch.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
        tracing::warn!(target: "tower_fred::redis", service, "the sentinels named another primary");
        for link in links.iter().filter_map(Weak::upgrade) {
            link.reconnect().await;
        }
    }
}

const SWITCH: &str = "+switch-master";
const PAUSE: Duration = Duration::from_millis(500);
const LIVES_CHECK: Duration = Duration::from_secs(5);
