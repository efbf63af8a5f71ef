//! Adding purges to the log.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;

use super::{
    log::Log,
    random::token,
    reader::{LIFE, begin, millis},
};
use crate::{
    error::{Error, Kind},
    redis::Script,
    store::{
        entry::{log_position::Seq, tag::Tag},
        history::record::{Mode, Order, PurgeRecord},
    },
};

impl Log {
    /// Adds a purge of these tags, or of everything if there are none; gives its place in the log. When it returns, this
    /// process knows of the purge. It runs to its end even when the caller is cancelled.
    pub(crate) async fn purge(self: &Arc<Self>, mode: Mode, tags: Vec<Tag>) -> Result<Seq, Error> {
        let log = Arc::clone(self);
        let order = Order {
            mode,
            token: token()?,
            tags,
        };
        let purge = tokio::spawn(async move { log.add(order).await });
        let ended = |error| Error::new(Kind::Unavailable, "the runtime ended").caused_by(error);
        purge.await.map_err(ended)?
    }

    async fn add(&self, order: Order) -> Result<Seq, Error> {
        let args = [
            order.encode().as_slice().into(),
            begin()?.as_slice().into(),
            MOST_RECORDS.into(),
            millis(LIFE).into(),
        ];
        let reply: (String, i64, Bytes) = self.redis.run(&PURGE, &self.key, args).await?;
        // Not before the command: purges would be sent one after another.
        let _turn = self.turn.lock().await;
        let (epoch, count) = read_id(&reply.0)
            .ok_or_else(|| Error::new(Kind::Corrupt, "redis gave a purge an unexpected id"))?;
        let purged = PurgeRecord {
            epoch,
            count,
            order,
            at_ms: u64::try_from(reply.1).unwrap_or(0),
        };
        let (seq, known) = (purged.seq(), self.seq());
        // A failover may lose records, and their counts are given again: the record before must be the known one.
        let follows = Order::decode(&reply.2).token == known.token;
        if known.epoch == epoch && known.count.checked_add(1) == Some(count) && follows {
            self.change(|purges| purges.apply(&purged));
        } else if known != Seq::default() {
            // Other purges came between, or this one is known already. If they cannot be read now, nothing stored is used
            // until a read succeeds.
            self.looked_at.store(0, Ordering::Release);
            let _ = self.look().await;
        }
        Ok(seq)
    }
}

fn read_id(id: &str) -> Option<(u64, u64)> {
    let (epoch, count) = id.split_once('-')?;
    Some((epoch.parse().ok()?, count.parse().ok()?))
}

static PURGE: Script = Script::new(include_str!("lua/purge.lua"));

/// These take some 10 MB in Redis. A process that starts later counts entries from before the first of them as purged.
const MOST_RECORDS: i64 = 100_000;
