//! Adding purges to the log.

use std::sync::Arc;

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
        history::{
            map::Purges,
            record::{Mode, Order, PurgeRecord},
        },
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
        // Not before the command: a read of the whole log would wait for it.
        let turn = self.turn.read().await;
        let (epoch, count) = read_id(&reply.0)
            .ok_or_else(|| Error::new(Kind::Corrupt, "redis gave a purge an unexpected id"))?;
        let purged = PurgeRecord {
            epoch,
            count,
            order,
            at_ms: u64::try_from(reply.1).unwrap_or(0),
        };
        let before = Order::decode(&reply.2).token;
        if !self.change(|purges| is_learnt(purges, &purged, before)) {
            // Other purges came between. If they cannot be read now, nothing stored is used until a read succeeds.
            self.doubt();
            drop(turn);
            let _ = self.look().await;
        }
        Ok(purged.seq())
    }
}

/// Adds a purge if it follows what is known; whether it is known now. `before` is the token of the record before it.
fn is_learnt(purges: &mut Purges, purged: &PurgeRecord, before: [u8; 8]) -> bool {
    let known = purges.last();
    // Before the log was first read, nothing stored is used.
    if known == Seq::default() || purges.knows(purged.seq()) {
        return true;
    }
    // A failover may lose records, and their counts are given again: the record before must be the known one.
    let is_next = known.count.checked_add(1) == Some(purged.count) && before == known.token;
    let follows = known.epoch == purged.epoch && is_next;
    if follows {
        purges.apply(purged);
    }
    follows
}

fn read_id(id: &str) -> Option<(u64, u64)> {
    let (epoch, count) = id.split_once('-')?;
    Some((epoch.parse().ok()?, count.parse().ok()?))
}

static PURGE: Script = Script::new(include_str!("lua/purge.lua"));

/// These take some 10 MB in Redis. A process that starts later counts entries from before the first of them as purged.
const MOST_RECORDS: i64 = 100_000;
