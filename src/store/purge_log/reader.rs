//! Reading the purge log from Redis.

use std::{sync::atomic::Ordering, time::Duration};

use super::{
    clock::{clock, micros},
    log::Log,
    random::token,
};
use crate::{
    error::{Error, Kind},
    redis::{Record, Script},
    store::{
        entry::log_position::Seq,
        history::{
            map::Purges,
            record::{Mode, Order, PurgeRecord},
        },
    },
};

impl Log {
    /// Reads what is new; gives when that began, on [`clock`].
    pub(crate) async fn look(&self) -> (u64, Result<(), Error>) {
        let shared = self.turn.read().await;
        let began_at = clock();
        match self.look_at(began_at, false).await {
            Ok(true) => return (began_at, Ok(())),
            Err(error) => return (began_at, Err(error)),
            Ok(false) => drop(shared),
        }
        let _alone = self.turn.write().await;
        let looked = self.look_at(began_at, true).await;
        (began_at, looked.map(drop))
    }

    /// False when more than a page has to be read, or the whole log: only a caller that is alone does that.
    async fn look_at(&self, began_at: u64, is_alone: bool) -> Result<bool, Error> {
        let extended_at = self.extended_at.load(Ordering::Relaxed);
        let is_due = extended_at == 0 || began_at.saturating_sub(extended_at) > micros(LIFE / 48);
        let life = if is_due { LIFE } else { Duration::ZERO };
        if !self.read(life, is_alone).await? {
            if !is_alone {
                return Ok(false);
            }
            self.read_anew().await?;
        }
        self.note(began_at);
        if is_due {
            self.extended_at.store(began_at, Ordering::Relaxed);
        }
        Ok(true)
    }

    /// Reads what is new, and extends the expiry of the log to `life` unless that is zero. False when it does not follow
    /// what is known, or when there is more than a page of it and the caller is not alone: reads that overlap would all
    /// read the same pages.
    async fn read(&self, life: Duration, is_alone: bool) -> Result<bool, Error> {
        loop {
            let known = self.seq();
            if known == Seq::default() {
                return Ok(false);
            }
            let from = format!("{}-{}", known.epoch, known.count);
            let records = self.redis.records(&self.key, &from, PAGE, life).await?;
            let purged: Vec<PurgeRecord> = records.iter().map(read_record).collect();
            if !self.change(|purges| purges.extend(&purged)) {
                return Ok(false);
            }
            if records.len() < PAGE {
                return Ok(true);
            }
            if !is_alone {
                return Ok(false);
            }
        }
    }

    /// Reads the whole log, since the record that was known last is no longer in it. The caller has the turn alone.
    async fn read_anew(&self) -> Result<(), Error> {
        let known = self.seq();
        for _ in 0..ATTEMPTS {
            let mut purges = Purges::default();
            let mut first = None;
            let mut from = "-".to_owned();
            loop {
                let records = self.redis.records(&self.key, &from, PAGE, LIFE).await?;
                for record in records.iter().map(read_record) {
                    first.get_or_insert(record.seq());
                    purges.apply(&record);
                    from = format!("({}-{}", record.epoch, record.count);
                }
                if records.len() < PAGE {
                    break;
                }
            }
            let found = purges.last();
            let is_trimmed = |first: Seq| found.epoch == known.epoch && first.count > known.count;
            let ended = match first {
                None => String::new(),
                Some(first) if found.epoch > known.epoch || is_trimmed(first) => {
                    self.replace(purges);
                    return Ok(());
                }
                // Records that were in it are gone: it was rolled back, and their counts may be given again.
                Some(_) => found.epoch.to_string(),
            };
            tracing::debug!(target: "tower_fred::store", "the purge log begins anew");
            let args = [
                ended.into(),
                begin()?.as_slice().into(),
                millis(LIFE).into(),
            ];
            self.redis.run::<()>(&EPOCH, &self.key, args).await?;
        }
        Err(Error::new(
            Kind::Unavailable,
            "the purge log keeps changing",
        ))
    }
}

fn read_record(record: &Record) -> PurgeRecord {
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse().ok();
    let (epoch, count) = record.id;
    PurgeRecord {
        epoch,
        count,
        order: Order::decode(record.field(b"order").map_or(&[], |order| order)),
        at_ms: record.field(b"at").and_then(|at| number(at)).unwrap_or(0),
    }
}

/// The order of the record that begins a log.
pub(crate) fn begin() -> Result<Vec<u8>, Error> {
    let order = Order {
        mode: Mode::Begin,
        token: token()?,
        tags: Vec::new(),
    };
    Ok(order.encode())
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

static EPOCH: Script = Script::new(include_str!("lua/epoch.lua"));

const PAGE: usize = 1000;
const ATTEMPTS: u32 = 3;
/// How long Redis keeps the log when no process uses it.
pub(crate) const LIFE: Duration = Duration::from_secs(48 * 60 * 60);
