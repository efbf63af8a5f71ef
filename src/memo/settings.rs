//! The setters of a memo.

use std::{sync::Arc, time::Duration};

use super::{
    config::{Config, check_ttl},
    values::Memo,
};
use crate::store::{Store, Tag};

impl<T> Memo<T> {
    /// How many bytes of memory the values in this process may take; default: no values are kept in this process.
    ///
    /// A value that was read twice is also kept in this process, encoded, and then read without asking Redis. A purge,
    /// `set` or `invalidate` on any node is known here within 50 ms, and at once on the same node;
    /// [`coherence`](crate::redis::RedisBuilder::coherence) changes that, and what it costs. While Redis cannot be
    /// asked about purges, no value of this process is used (but see [`serve_for`](Self::serve_for)).
    ///
    /// When another node has loaded a value anew that was not purged, the new value is used here within a second. A value
    /// in use is compared with Redis every 0.6 s in the background, by its first 11 bytes; a value that was not used for
    /// 0.85 s is compared before it is used again. A value whose server does not answer stays in use.
    ///
    /// An entry of up to an eighth of `bytes`, and of at most 8 MiB, is kept. A larger one may be left out, whereof one line
    /// in the log tells; it is read from Redis each time.
    ///
    /// # Panics
    ///
    /// When it is zero.
    #[must_use]
    pub fn near(self, bytes: usize) -> Self {
        assert!(bytes > 0, "a near tier needs memory");
        self.stored(|config| config.store.near = Some(bytes))
    }

    /// How long values of this process are used while Redis cannot be asked about purges; default: not at all.
    ///
    /// Hits go on during an outage. Values that were purged meanwhile may be used for this long.
    #[must_use]
    pub fn serve_for(self, time: Duration) -> Self {
        self.stored(|config| config.store.serve_for = time)
    }

    /// How long after its ttl a value is still used while a new one is being loaded; default: not at all (RFC 5861 §3).
    ///
    /// One caller of all processes loads it, and the others get the stale value meanwhile. The caller that loads waits for
    /// the new value, unless it called [`get_or_refresh`](Self::get_or_refresh).
    #[must_use]
    pub fn stale_while_revalidate(self, time: Duration) -> Self {
        self.configured(|config| config.stale_while_revalidate = time)
    }

    /// How long after its ttl a value is still used when the load fails; default: not at all (RFC 5861 §4).
    ///
    /// The first caller whose load fails gets the stale value, and so do the callers that waited for it. From then on, one
    /// caller of all processes tries to load after each [`error_pause`](Self::error_pause), and all others get the stale
    /// value at once, until a load succeeds. When loads take 20 ms or less, one caller of each process tries. A caller that
    /// has waited too long for another one, and whose own load fails, gets the stale value too.
    #[must_use]
    pub fn stale_if_error(self, time: Duration) -> Self {
        self.configured(|config| config.stale_if_error = time)
    }

    /// The pause after a load that failed, while there is a stale value to use; default 1 s.
    ///
    /// It applies with [`stale_if_error`](Self::stale_if_error) and [`stale_while_revalidate`](Self::stale_while_revalidate).
    /// Without a stale value, the next caller loads at once.
    ///
    /// # Panics
    ///
    /// When it is shorter than a millisecond or longer than an hour.
    #[must_use]
    pub fn error_pause(self, time: Duration) -> Self {
        assert!(
            (Duration::from_millis(1)..=HOUR).contains(&time),
            "a pause between 1 ms and 1 hour"
        );
        self.stored(|config| config.store.error_pause = time)
    }

    /// How many loads of [`get_or_refresh`](Self::get_or_refresh) run in the background of this process at once; default 64.
    ///
    /// Further loads wait for their turn, one for each key, in the order in which they came. A load whose value was loaded
    /// anew meanwhile is skipped. While more than 4,096 loads run and wait, new ones are left out, with a warning at most
    /// once a second: the value stays stale until it is asked for again.
    ///
    /// # Panics
    ///
    /// When it is zero.
    #[must_use]
    pub fn background_refreshes(self, at_once: usize) -> Self {
        assert!(at_once > 0, "one refresh at a time, or more");
        self.stored(|config| config.store.refreshes = at_once)
    }

    /// How long one load in the background may take; default 60 s. A load that takes longer is dropped, and the next one
    /// runs. The time that a load waits for its turn does not count.
    ///
    /// # Panics
    ///
    /// When it is zero.
    #[must_use]
    pub fn refresh_limit(self, time: Duration) -> Self {
        assert!(!time.is_zero(), "a refresh takes time");
        self.stored(|config| config.store.refresh_limit = time)
    }

    /// How eagerly a value is loaded anew before its ttl ends, so that callers do not all wait then; default 0: never.
    ///
    /// With 1, the usual choice, one of many callers loads it about as long before the end as a load takes
    /// (Vattani et al., "Optimal probabilistic cache stampede prevention", 2015); greater values are earlier. As with
    /// [`stale_while_revalidate`](Self::stale_while_revalidate), only one waits.
    ///
    /// # Panics
    ///
    /// When it is negative or not finite.
    #[must_use]
    pub fn early_refresh(self, eagerness: f64) -> Self {
        assert!(
            eagerness >= 0.0 && eagerness.is_finite(),
            "an eagerness of zero or more"
        );
        self.stored(|config| config.store.eagerness = eagerness)
    }

    /// By what part of its ttl a value's life is shortened at most, at random, so that what was loaded together does not
    /// end together; default 0.
    ///
    /// # Panics
    ///
    /// When it is not between 0 and 1.
    #[must_use]
    pub fn jitter(self, part: f64) -> Self {
        assert!((0.0..=1.0).contains(&part), "a part between 0 and 1");
        self.configured(|config| config.jitter = part)
    }

    /// How long a value lives, by the value; in place of the ttl. One that is to live for zero is not kept.
    ///
    /// ```no_run
    /// # fn example(redis: tower_fred::Redis) {
    /// use std::time::Duration;
    /// use tower_fred::memo::Memo;
    ///
    /// // An empty result may change soon.
    /// let found: Memo<Vec<u64>> = Memo::new(redis, "found", Duration::from_secs(60))
    ///     .ttl_by(|found: &Vec<u64>| Duration::from_secs(if found.is_empty() { 5 } else { 60 }));
    /// # }
    /// ```
    #[must_use]
    pub fn ttl_by(self, ttl: impl Fn(&T) -> Duration + Send + Sync + 'static) -> Self {
        self.configured(|config| config.ttl_by = Some(Arc::new(ttl)))
    }

    /// A tag that all values have. [`Purge::tag`](crate::cache::Purge::tag) purges them.
    #[must_use]
    pub fn tag(self, tag: impl AsRef<str>) -> Self {
        self.configured(|config| config.tags.push(Tag::named(tag.as_ref())))
    }

    /// The tags of a value, in addition to those that all values have.
    ///
    /// ```no_run
    /// # async fn example(redis: tower_fred::Redis) -> Result<(), tower_fred::Error> {
    /// use std::time::Duration;
    /// use serde::{Deserialize, Serialize};
    /// use tower_fred::memo::Memo;
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Product {
    ///     maker: u64,
    /// }
    ///
    /// let products = Memo::new(redis.clone(), "products", Duration::from_secs(60))
    ///     .tags_by(|product: &Product| vec![format!("maker:{}", product.maker)]);
    /// # let _: Memo<Product> = products;
    ///
    /// redis.purge().tag("maker:7").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tags_by(self, tags: impl Fn(&T) -> Vec<String> + Send + Sync + 'static) -> Self {
        self.configured(|config| config.tags_by = Some(Arc::new(tags)))
    }

    /// How long a caller waits for another process that loads the same value before it loads itself; default 10 s. It waits
    /// twice as long for another caller of this process.
    ///
    /// Callers wait for a load that makes progress: its future is polled, and it has itself polled four times a second. A
    /// load makes no progress when its process has crashed or was stopped, or its task does something else (a branch of
    /// `select!` that was left, a stream that nobody drives, a thread that is blocked). After a second without progress,
    /// one of the callers that wait loads in its place. If the late load finishes first, its value is still used. A caller
    /// that has waited for two such loads does not wait for a third one.
    ///
    /// Other processes learn of a load by a lease in Redis, which lives for a second, or for this time if that is less.
    /// The lease is extended while the load makes progress, for the first time after half a second.
    ///
    /// # Panics
    ///
    /// When it is shorter than a millisecond or longer than an hour.
    #[must_use]
    pub fn wait(self, time: Duration) -> Self {
        assert!(
            (Duration::from_millis(1)..=HOUR).contains(&time),
            "between 1 ms and 1 hour to wait"
        );
        self.stored(|config| config.store.wait = time)
    }

    /// Encodes values as `MessagePack` with field names, in place of JSON. Values that were stored as JSON are not found any
    /// more.
    #[cfg(feature = "messagepack")]
    #[must_use]
    pub fn messagepack(self) -> Self {
        self.configured(|config| config.codec = super::codec::Codec::MessagePack)
    }

    /// Stores values compressed (LZ4) in Redis when their encoding is longer than this many bytes; default: none.
    ///
    /// A value that does not get smaller by an eighth is stored as it is. Each read from Redis decompresses the value;
    /// values in this process are not compressed.
    #[cfg(feature = "compression")]
    #[must_use]
    pub fn compress_above(self, bytes: usize) -> Self {
        self.configured(|config| config.compress_above = Some(bytes))
    }

    fn configured(mut self, change: impl FnOnce(&mut Config<T>)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// Changes a setting of the store, with a new store.
    fn stored(self, change: impl FnOnce(&mut Config<T>)) -> Self {
        let mut memo = self.configured(change);
        memo.store = Store::new(&memo.redis, memo.config.store.clone());
        memo
    }
}

impl<U: 'static> Memo<Option<U>> {
    /// The ttl of a `None`, which says that there is no such thing; default: that of the other values.
    ///
    /// # Panics
    ///
    /// When it is not between 1 ms and 100 years.
    #[must_use]
    pub fn negative_ttl(self, ttl: Duration) -> Self {
        check_ttl(ttl);
        let others = self.config.ttl_by.clone();
        let usual = self.config.ttl;
        self.ttl_by(move |value| match (value, &others) {
            (None, _) => ttl,
            (Some(_), Some(others)) => others(value),
            (Some(_), None) => usual,
        })
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);
