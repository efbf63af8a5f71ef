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
    /// Adds a purge of these tags, or of everything; gives its place. When it returns, this process knows of it.
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
        // Not before: else purges would go one after another.
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
        // Counts are given again after a failover that lost some: it has to be the record that is known, too.
        let follows = Order::decode(&reply.2).token == known.token;
        if known.epoch == epoch && known.count.checked_add(1) == Some(count) && follows {
            self.change(|purges| purges.apply(&purged));
        } else if known != Seq::default() {
            // Others have purged meanwhile, or this is known already. If this cannot tell what, nothing is used until a look can.
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

/// Some 10 MB in Redis, whoever asks for the purges. A process that starts later takes what is older than the first of
/// them as purged.
const MOST_RECORDS: i64 = 100_000;
