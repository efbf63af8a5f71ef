//! The task that hears of purges as they are added to the log.
//!
//! It makes purges known sooner, and nothing depends on it: what it hears is only a reason to look, and without it the
//! log is looked at all the same.

use std::{sync::Weak, time::Duration};

use tokio::{select, sync::watch, time::sleep};

use super::{life::Seq, log::Log};
use crate::redis::Tail;

/// Listens for as long as there is the log: `in_use` says when that is worth it, and closes with the log.
pub(super) async fn listen(log: Weak<Log>, mut in_use: watch::Receiver<bool>) {
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
            tracing::debug!(target: "tower_fred::store", %error, "nobody listens to the purge log");
            None
        }
    }
}

/// Has the log looked at each time that there is something new. Returns when the connection is lost, or nobody uses the
/// log: an idle connection would be closed by others.
async fn attend(log: &Weak<Log>, tail: &Tail, in_use: &mut watch::Receiver<bool>) {
    while *in_use.borrow_and_update() {
        let Some((key, known)) = place(log) else {
            return;
        };
        let after = format!("{}-{}", known.epoch, known.count);
        match tail.wait(&key, &after, WAIT).await {
            Ok(false) => {}
            Ok(true) => {
                // What cannot be read now would be heard again at once.
                if !look(log, known).await {
                    sleep(PAUSE).await;
                }
            }
            Err(error) => {
                tracing::debug!(target: "tower_fred::store", %error, "the purge log was not heard");
                return;
            }
        }
    }
}

fn place(log: &Weak<Log>) -> Option<(String, Seq)> {
    let log = log.upgrade()?;
    Some((log.key.clone(), log.seq()))
}

/// Whether more is known now.
async fn look(log: &Weak<Log>, known: Seq) -> bool {
    let Some(log) = log.upgrade() else {
        return false;
    };
    log.catch_up().await.is_ok() && log.seq() != known
}

/// How long the server waits before it says that there is nothing.
const WAIT: Duration = Duration::from_secs(1);
/// After what has failed.
const PAUSE: Duration = Duration::from_millis(500);
