//! The purge log in Redis, and what this process knows of it.
//!
//! It is read when somebody needs to know and the last look is too long ago, as soon as something is added to it, and
//! regularly for as long as somebody needs it. Each look begins with the record that was last in the one before: if that
//! is not there any more, or is another one, the log was flushed, trimmed or taken back by a failover, and is read from
//! its beginning. Only a server that takes writes is believed: a replica may have lost its primary.

use std::{
    sync::{
        Arc, LazyLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};

use super::follow::Signals;
use crate::store::{
    entry::{
        life::{Seq, Subject, Tag},
        state::Verdict,
    },
    history::purges::{Mode, Order, Purged, Purges},
};
use crate::{
    error::{Error, Kind},
    redis::{Record, Redis, Script},
};

/// The log of a namespace. There is one for each handle: [`Log::of`].
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) redis: Redis,
    pub(crate) key: String,
    purges: RwLock<Purges>,
    /// When the last look that succeeded began, on [`clock`]; 0 before the first.
    looked_at: AtomicU64,
    /// Held by who reads or writes the log, which is always a task of its own: a caller may not be polled again for long,
    /// and would keep all others waiting.
    pub(crate) turn: Mutex<()>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) used: AtomicBool,
    pub(crate) followed: AtomicBool,
    /// Whether it was used lately. Nobody else has the sender: that it is gone tells that the log is.
    pub(crate) in_use: watch::Sender<bool>,
    /// When the log was last told to live on, on [`clock`].
    extended_at: AtomicU64,
}

impl Log {
    /// The log of the namespace of `redis`, shared by all who use that handle.
    pub(crate) fn of(redis: &Redis) -> Arc<Self> {
        redis.shared(|| Self {
            key: format!("{}:purges", redis.namespace()),
            redis: redis.clone(),
            purges: RwLock::default(),
            looked_at: AtomicU64::new(0),
            turn: Mutex::default(),
            signals: Arc::default(),
            used: AtomicBool::new(false),
            followed: AtomicBool::new(false),
            in_use: watch::Sender::new(true),
            extended_at: AtomicU64::new(0),
        })
    }

    /// What is known of the log: the mark of what is made from now on.
    pub(crate) fn seq(&self) -> Seq {
        self.purges
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .last()
    }

    /// Whether an entry still holds, as far as is known.
    pub(crate) fn judge(
        &self,
        seq: Seq,
        subject: Subject,
        tags: impl IntoIterator<Item = Tag> + Clone,
    ) -> Verdict {
        self.purges
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .judge(seq, subject, tags)
    }

    /// Whether all purges are known that were over this long ago.
    pub(crate) fn is_known(&self, ago: Duration) -> bool {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        match self.looked_at() {
            0 => false,
            at => clock().saturating_sub(at) <= micros(ago),
        }
    }

    /// When the last look that succeeded began, on [`clock`].
    pub(crate) fn looked_at(&self) -> u64 {
        self.looked_at.load(Ordering::Acquire)
    }

    /// Learns of all purges that were over before this was called. At most one look is under way: who comes meanwhile
    /// shares the next one.
    pub(crate) async fn catch_up(self: &Arc<Self>) -> Result<(), Error> {
        let called_at = clock();
        self.follow();
        self.signals.wanted.notify_one();
        let mut last = self.signals.last.subscribe();
        let look = last.wait_for(|look| look.began_at >= called_at);
        // Two looks, one that is under way and the next, and some time for whoever runs them.
        let look = match timeout(self.redis.deadline() * 3, look).await {
            Ok(Ok(look)) => look.failed,
            Ok(Err(_)) | Err(_) => Some(Kind::Timeout),
        };
        match look {
            None => Ok(()),
            Some(kind) => Err(Error::new(kind, "the purge log could not be read")),
        }
    }

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
        let purged = Purged {
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

    /// With the turn held.
    pub(crate) async fn look(&self) -> Result<(), Error> {
        let began_at = clock();
        let extended_at = self.extended_at.load(Ordering::Relaxed);
        let is_due = extended_at == 0 || began_at.saturating_sub(extended_at) > micros(LIFE / 48);
        self.read(if is_due { LIFE } else { Duration::ZERO })
            .await?;
        self.looked_at.store(began_at, Ordering::Release);
        if is_due {
            self.extended_at.store(began_at, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reads what is new, and lets the log live on for `life` at least.
    async fn read(&self, life: Duration) -> Result<(), Error> {
        loop {
            let known = self.seq();
            if known == Seq::default() {
                return self.read_anew(known).await;
            }
            let from = format!("{}-{}", known.epoch, known.count);
            let records = self.redis.records(&self.key, &from, PAGE, life).await?;
            let mut purged = records.iter().map(read_record);
            if purged.next().is_none_or(|first| first.seq() != known) {
                return self.read_anew(known).await;
            }
            self.change(|purges| purged.for_each(|record| purges.apply(&record)));
            if records.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Reads the whole log, after it was found that the record that was `known` last is no longer in it.
    async fn read_anew(&self, known: Seq) -> Result<(), Error> {
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
                    self.change(|known| *known = purges);
                    return Ok(());
                }
                // What was in it before is not: it was taken back, and its counts may be given twice.
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

    fn change(&self, change: impl FnOnce(&mut Purges)) {
        change(&mut self.purges.write().unwrap_or_else(PoisonError::into_inner));
    }
}

fn read_record(record: &Record) -> Purged {
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse().ok();
    let (epoch, count) = record.id;
    Purged {
        epoch,
        count,
        order: Order::decode(record.field(b"order").map_or(&[], |order| order)),
        at_ms: record.field(b"at").and_then(|at| number(at)).unwrap_or(0),
    }
}

fn read_id(id: &str) -> Option<(u64, u64)> {
    let (epoch, count) = id.split_once('-')?;
    Some((epoch.parse().ok()?, count.parse().ok()?))
}

/// The record that begins a log.
fn begin() -> Result<Vec<u8>, Error> {
    let order = Order {
        mode: Mode::Begin,
        token: token()?,
        tags: Vec::new(),
    };
    Ok(order.encode())
}

pub(crate) fn token() -> Result<[u8; 8], Error> {
    let mut token = [0; 8];
    getrandom::fill(&mut token)
        .map_err(|error| Error::new(Kind::Unavailable, "no randomness").caused_by(error))?;
    Ok(token)
}

/// Microseconds on a clock of this process that is never set and never shows zero.
pub(crate) fn clock() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    micros(START.elapsed()) + 1
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

static PURGE: Script = Script::new(include_str!("lua/purge.lua"));
static EPOCH: Script = Script::new(include_str!("lua/epoch.lua"));

/// How old what is known of the log may be when it is relied on.
pub(crate) const RECENT: Duration = Duration::from_millis(50);
const PAGE: usize = 1000;
const ATTEMPTS: u32 = 3;
/// Some 10 MB in Redis, whoever asks for the purges. A process that starts later takes what is older than the first of
/// them as purged.
const MOST_RECORDS: i64 = 100_000;
/// How long the log lives when nobody uses it.
const LIFE: Duration = Duration::from_secs(48 * 60 * 60);
