//! The public handle that purges entries.

use std::sync::Arc;

use http::Uri;

use super::{
    entry::{key::Key, tag::Tag, uri},
    history::record::Mode,
    purge_log::log::Log,
    tiers::remote::Remote,
};
use crate::{error::Error, redis::Redis};

/// Purges stored responses and values, from a handler, a job or another program: it needs no layer.
///
/// A purge reaches all processes that share the handle's namespace, with one command whatever the number of entries. When
/// it has returned, this process uses nothing that it names and that was made before it. Other processes stop about a
/// millisecond later, at most 50 ms ([`coherence`](crate::redis::RedisBuilder::coherence) changes that). What is being made
/// while the purge runs counts as made before it, on every node, however long it takes.
///
/// A process that cannot learn what was purged uses nothing that is stored, see [what it relies on](#what-it-relies-on).
///
/// ```no_run
/// # async fn example(redis: tower_fred::Redis) -> Result<(), Box<dyn std::error::Error>> {
/// let purge = redis.purge();
/// purge.tag("product:7").await?;
/// purge.url(&"https://shop.example/products/7".parse()?).await?;
///
/// // Stale from now on: used while they are made anew, where stale-while-revalidate or stale-if-error allow that.
/// purge.soft().tag("products").await?;
///
/// purge.all().await?;
/// # Ok(())
/// # }
/// ```
///
/// # What it relies on
///
/// Purges are records in a log, a Redis stream. A process that uses what is stored asks the server for new
/// records, by default every 20 ms, in a way that only a primary answers: a replica refuses, whether it has its primary or not, and so does a primary that was made
/// a replica (but not one with `replica-read-only no`). Each stored entry names the last record that was known when it was
/// made, so that entries are not used that were made with a record that a failover has lost.
///
/// Two cases are not covered. Redis replicates in the background: a confirmed purge that no replica had when the primary
/// failed is lost, and processes that did not know of it use what it named. And a primary that is cut off from its
/// replicas, together with a process, does not know that one of them was made primary: while it answers, that process does
/// not learn of new purges. In a cluster it stops within `cluster-node-timeout`. Elsewhere set
/// `min-replicas-to-write 1` and `min-replicas-max-lag`: a primary that lost its replicas then refuses, and the process uses
/// nothing that is stored.
///
/// The log lives for 48 hours after its last use. So Redis may evict it when its memory is full and its policy takes keys with
/// a lifetime at random or by their last use: `volatile-random`, and `volatile-lru` on Valkey 9.1. No purge is undone by
/// that: a new log begins, and no process uses what was made before it. All of that is made anew.
///
/// # What is remembered
///
/// Each process remembers 262,144 tags and URLs that were purged. Beyond that, it forgets the older half, and what was made
/// before the purges that it forgot is not used again. URLs that unsafe requests invalidate, which clients choose, are
/// remembered separately, in up to 9 MB: 200,000 one by one, and 1.6 million older ones in Bloom filters, which also report
/// up to one in 600 other responses as invalidated. Beyond that, responses that were made before the oldest of them are not
/// used again. Of either kind, two million records are remembered: what was made before them is not used again.
///
/// # What it does not know
///
/// Purge after the data has changed, not before. A value that is made from a database replica that lags behind may be old
/// again.
#[derive(Clone, Debug)]
pub struct Purge {
    remote: Remote,
    log: Arc<Log>,
    mode: Mode,
}

impl Redis {
    /// A handle that purges stored responses and values.
    pub fn purge(&self) -> Purge {
        Purge::new(self.clone())
    }
}

impl Purge {
    /// A handle for what is stored under the namespace of `redis`.
    pub fn new(redis: Redis) -> Self {
        Self {
            log: Log::of(&redis),
            remote: Remote::new(redis),
            mode: Mode::Hard,
        }
    }

    /// The same for soft purges: what they name is stale from then on, but not gone.
    ///
    /// It is used as far as stale-while-revalidate and stale-if-error allow, with their time counted from the purge, and
    /// never longer than without the purge.
    #[must_use]
    pub fn soft(&self) -> Self {
        Self {
            mode: Mode::Soft,
            ..self.clone()
        }
    }

    /// Purges everything that has this tag.
    ///
    /// # Errors
    ///
    /// An error when Redis did not confirm it: what it names may still be used.
    pub async fn tag(&self, tag: impl AsRef<str>) -> Result<(), Error> {
        self.tags([tag]).await
    }

    /// Purges everything that has at least one of these tags, with one command for all. No tags purge nothing.
    ///
    /// # Errors
    ///
    /// An error when Redis did not confirm it: what they name may still be used.
    pub async fn tags(&self, tags: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), Error> {
        let tags: Vec<Tag> = tags
            .into_iter()
            .map(|tag| Tag::named(tag.as_ref()))
            .collect();
        if tags.is_empty() {
            return Ok(());
        }
        self.record(tags).await
    }

    /// Purges the response stored for `url` with all its variants, under every form of the URL.
    ///
    /// Equivalent URLs are one (RFC 9110 §4.2.3): host and scheme without letter case, with or without the ports 80 and
    /// 443, with unreserved characters as they are or percent-encoded, and with `.` and `..` or without. So
    /// `http://shop.example/~ann` takes out what is stored for `SHOP.example:80/%7Eann` too. The scheme makes no
    /// difference. A URL without a host names the responses to requests without one.
    ///
    /// It is the URL that clients ask for, before a layer outside of the cache changes it, where the cache
    /// [knows the original](crate::cache#the-key).
    ///
    /// # Errors
    ///
    /// An error when Redis did not confirm it: the response may still be used.
    pub async fn url(&self, url: &Uri) -> Result<(), Error> {
        let host = url.authority().map_or("", |authority| authority.as_str());
        let group = uri::group(host, url.path(), url.query());
        let tags = vec![Tag::of_group(&group)];
        if self.mode == Mode::Soft {
            return self.record(tags).await;
        }
        // The record in the log purges. Deleting frees the memory at once, for the form of the URL that most clients send.
        let resource = group;
        let slot = self.remote.primary(&Key { resource, group });
        tokio::try_join!(self.record(tags), self.remote.delete(&slot))?;
        Ok(())
    }

    /// Purges everything in the namespace. The memory in Redis comes back as the entries expire.
    ///
    /// # Errors
    ///
    /// An error when Redis did not confirm it: everything may still be used.
    pub async fn all(&self) -> Result<(), Error> {
        self.record(Vec::new()).await
    }

    async fn record(&self, tags: Vec<Tag>) -> Result<(), Error> {
        self.log.purge(self.mode, tags).await?;
        Ok(())
    }
}
