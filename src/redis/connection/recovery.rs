//! Looking after a connection that may be lost, dead, or out of step.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use fred::{
    clients::Client,
    error::{Error as FredError, ErrorKind},
    interfaces::ClientLike,
    types::{ClusterHash, CustomCommand, Value},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    fred_error::{classify, is_unanswered},
    link::{Link, chance, jittered},
    task::Turn,
};
use crate::log_pace::{LogPace, uptime};

impl Link {
    /// Looks after the connection in the background, unless that is being done already: called when a command got no
    /// answer.
    ///
    /// fred notices a connection that closed, but not one that is open and dead while it is written to.
    pub(crate) fn suspect(self: &Arc<Self>) {
        if let Some(turn) = self.recovery.begin() {
            tokio::spawn(recover(turn, Arc::downgrade(self)));
        }
    }

    /// Connects anew in the background, unless the connection is being looked after already: called when its replies are
    /// out of step.
    pub(crate) fn restart(self: &Arc<Self>) {
        if let Some(turn) = self.recovery.begin() {
            log_out_of_step();
            let link = Arc::clone(self);
            tokio::spawn(async move {
                link.reconnect().await;
                link.finish(turn);
            });
        }
    }

    /// Makes sure in the background that replies are to what was asked, and connects anew when they are not: called when
    /// one may have been to another command, or what is stored is not ours.
    pub(crate) fn verify(self: &Arc<Self>) {
        if let Some(turn) = self.recovery.begin() {
            let link = Arc::clone(self);
            tokio::spawn(async move {
                if !link.is_in_step().await {
                    log_out_of_step();
                    link.reconnect().await;
                }
                link.finish(turn);
            });
        }
    }

    /// Ends a turn. What got no answer meanwhile is looked after in the next.
    fn finish(self: &Arc<Self>, turn: Turn) {
        drop(turn);
        if self.breaker.is_open() {
            self.suspect();
        }
    }

    async fn is_in_step(&self) -> bool {
        let word = chance().to_string();
        let client = self.client();
        let echo = client.ping::<String>(Some(word.clone()));
        match timeout(self.deadline.min(PROBE_TIMEOUT), echo).await {
            Ok(Ok(answer)) => answer == word,
            // The user may not be allowed to ask.
            Ok(Err(error)) => !is_unanswered(&error) && *error.kind() != ErrorKind::Parse,
            Err(_) => false,
        }
    }
}

/// Probes until there is an answer, and makes fred connect anew when a connection is open and gives none.
async fn recover(turn: Turn, link: Weak<Link>) {
    let mut stuck = 0;
    while let Some(link) = link.upgrade() {
        link.revive();
        let client = link.client();
        let (begun, limit) = (Instant::now(), link.deadline.min(PROBE_TIMEOUT));
        let answer = timeout(limit, probe(&client)).await;
        let silence = || FredError::new(ErrorKind::Timeout, "no answer to a probe");
        let error = match answer.unwrap_or_else(|_| Err(silence())) {
            // Wrong credentials apart, an error is an answer too: the user may not be allowed to ask.
            Err(error) if is_unanswered(&error) || *error.kind() == ErrorKind::Auth => error,
            _ => {
                link.breaker.recovered();
                link.finish(turn);
                return;
            }
        };
        link.breaker.unanswered(&classify(error.clone()));
        // fred's state says connected until it has tried in vain to connect again. A probe that waited for this process
        // says nothing about the connection.
        let is_dead = *error.kind() == ErrorKind::Timeout
            && client.is_connected()
            && link.breaker.has_waited(begun, limit);
        if is_dead {
            tracing::debug!(target: "tower_fred::redis", "an open connection gives no answer: connecting again");
            let is_done = link.reconnect().await;
            stuck = if is_done || !client.is_connected() {
                0
            } else {
                stuck + 1
            };
            if stuck == STUCK {
                link.replace_stuck();
                stuck = 0;
            }
        }
        drop(link);
        sleep(jittered(PROBE_INTERVAL)).await;
    }
}

/// Runs a script that does nothing: a server that holds back writes, as with `CLIENT PAUSE` or while it hands over to a
/// replica, holds it back too, and answers a `PING` all the same.
async fn probe(client: &Client) -> Result<(), FredError> {
    let command = CustomCommand::new_static("EVAL", ClusterHash::Random, false);
    client
        .custom::<Value, _>(command, vec!["return 1", "0"])
        .await
        .map(|_| ())
}

fn log_out_of_step() {
    static PACE: LogPace = LogPace::new();
    if let Some(omitted) = PACE.admit(uptime()) {
        tracing::error!(target: "tower_fred::redis", omitted, "replies are out of step: connecting again");
    }
}

/// A patient application's deadline is no reason to find out late.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// After how many orders in a row that a client did not take it is made anew.
const STUCK: u32 = 3;
