//! The task that waits for new records of the purge log on a connection of its own.
//!
//! It makes purges known sooner. Nothing else depends on it: a new record only makes it have the log read, and without it
//! the log is read regularly.

use std::{sync::Weak, time::Duration};

use tokio::{select, sync::watch, time::sleep};

use super::log::Log;
use crate::{redis::Tail, store::entry::log_position::Seq};

/// Listens until the log is dropped, which closes `in_use`, and only while the log is in use.
pub(crate) async fn listen(log: Weak<Log>, mut in_use: watch::Receiver<bool>) {
    let mut gone = in_use.clone();
    let listening = async {
        while in_use.wait_for(|used| *used).await.is_ok() {
            let Some(tail) = connect(&log).await else {
                sleep(PAUSE).await;
                continue;
            };
            attend(&log, &tail, &mut in_use).await;
            sleep(PAUSE).await;
        }
    };
    select! {
        () = listening => {}
        () = async { while gone.changed().await.is_ok() {} } => {}
    }
}

async fn connect(log: &Weak<Log>) -> Option<Tail> {
    let (redis, key) = {
        let log = log.upgrade()?;
        (log.redis.clone(), log.key.clone())
    };
    match redis.tail(&key).await {
        Ok(tail) => tail,
        Err(error) => {
            tracing::debug!(target: "tower_fred::store", %error, "no connection to wait for purges on");
            None
        }
    }
}

/// Has the log read each time that there is a new record. Returns when the connection is lost, or when nobody uses the log:
/// proxies close idle connections.
async fn attend(log: &Weak<Log>, tail: &Tail, in_use: &mut watch::Receiver<bool>) {
    while *in_use.borrow_and_update() {
        let Some((key, known)) = place(log) else {
            return;
        };
        let after = format!("{}-{}", known.epoch, known.count);
        match tail.wait(&key, &after, WAIT).await {
            Ok(false) => {}
            Ok(true) => {
                // Without a pause, a record that cannot be read now would be reported again at once.
                if !look(log, known).await {
                    sleep(PAUSE).await;
                }
            }
            Err(error) => {
                tracing::debug!(target: "tower_fred::store", %error, "the connection that waits for purges was lost");
                return;
            }
        }
    }
}

fn place(log: &Weak<Log>) -> Option<(String, Seq)> {
    let log = log.upgrade()?;
    Some((log.key.clone(), log.seq()))
}

/// Has the log read; whether more is known now than what was `known`.
async fn look(log: &Weak<Log>, known: Seq) -> bool {
    let Some(log) = log.upgrade() else {
        return false;
    };
    log.next_look().await.is_ok() && log.seq() != known
}

/// How long the server waits before it answers that there is no new record.
const WAIT: Duration = Duration::from_secs(5);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(500);
