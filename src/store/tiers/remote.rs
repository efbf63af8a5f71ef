//! The remote tier: entries in Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::{
    error::Error,
    log_pace::{LogPace, uptime},
    redis::{Health, Redis, Script},
    store::{
        entry::{
            decode::{Entry, MARK},
            key::{Digest, Key},
            slot::{Seen, Sight, Slot},
            tag::{Subject, Tag},
        },
        purge_log::reader::millis,
        tiers::{lease::Lease, shared_reads::SharedReads},
    },
};

/// The entries of one namespace in Redis.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    redis: Redis,
    /// Whether the last entry that was sent was refused.
    is_refused: Arc<AtomicBool>,
    shared_reads: Arc<SharedReads>,
}

impl Remote {
    pub(crate) fn new(redis: Redis) -> Self {
        Self {
            redis,
            is_refused: Arc::default(),
            shared_reads: Arc::default(),
        }
    }

    /// Whether Redis answers and stored the last entry that was sent.
    pub(crate) fn takes_writes(&self) -> bool {
        !self.is_refused.load(Ordering::Relaxed) && self.redis.health() != Health::Down
    }

    /// The slot that a resource is looked up in first.
    pub(crate) fn primary(&self, key: &Key) -> Slot {
        self.variant(key, key.resource)
    }

    /// The slot of one variant of a resource: in a cluster, on the node of the primary slot.
    pub(crate) fn variant(&self, key: &Key, variant: Digest) -> Slot {
        Slot {
            kind: 'c',
            group: Tag::of_group(&key.group),
            resource: key.resource,
            digest: variant,
        }
    }

    /// The slot of a memo's value.
    pub(crate) fn value(&self, digest: Digest) -> Slot {
        Slot {
            kind: 'm',
            group: Tag::of_group(&digest),
            resource: digest,
            digest,
        }
    }

    /// The Redis key of a slot. It is built only for commands: a near hit needs none.
    fn key(&self, slot: &Slot) -> String {
        let namespace = self.redis.namespace();
        let mut key = String::with_capacity(namespace.len() + 2 * Digest::LENGTH + 8);
        key.push_str(namespace);
        key.extend([':', slot.kind, ':', '{']);
        slot.resource.push_short(&mut key);
        key.push_str("}:");
        if slot.digest == slot.resource {
            key.push('0');
        } else {
            slot.digest.push_short(&mut key);
        }
        key
    }

    /// The Redis key of the lease for making the entry in a slot anew.
    fn lease_key(&self, slot: &Slot) -> String {
        self.key(slot) + ":r"
    }

    /// What is in a slot. Data that cannot be read counts as nothing: it will be overwritten.
    pub(crate) async fn get(&self, slot: &Slot) -> Result<Sight, Error> {
        let key = self.key(slot);
        self.see(slot, &key, self.redis.get(&key).await)
    }

    /// As [`get`](Self::get). The read of a response may be shared with other callers, and have begun up to 50 ms before.
    pub(crate) async fn read(&self, slot: &Slot) -> Result<Sight, Error> {
        // The stored value of a memo is replaced by calls that tell their caller when they are over.
        if slot.subject() == Subject::Value {
            return self.get(slot).await;
        }
        let read = || {
            let (remote, slot) = (self.clone(), slot.clone());
            async move { remote.get(&slot).await }
        };
        self.shared_reads.run(slot.digest(), read).await
    }

    /// As [`get`](Self::get); when there is nothing, puts `lease` there, and the second value is true.
    pub(crate) async fn get_or_lease(
        &self,
        slot: &Slot,
        lease: &Bytes,
        ttl: Duration,
    ) -> Result<(Sight, bool), Error> {
        let key = self.key(slot);
        let reply = self.redis.get_or_set(&key, lease.clone(), ttl).await;
        let is_ours = matches!(reply, Ok(None));
        let mut sight = self.see(slot, &key, reply)?;
        if is_ours {
            sight.seen = Seen::mark(lease);
        }
        Ok((sight, is_ours))
    }

    /// Whether the entry that was `seen` is still there.
    pub(crate) async fn has(&self, slot: &Slot, seen: &Seen) -> Result<bool, Error> {
        match self.redis.get_start(&self.key(slot), MARK).await {
            Ok(start) => Ok(matches!(seen, Seen::Mark(mark) if *mark == start)),
            Err(error) if error.is_corrupt() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes the lease for making the entry in a slot anew, and gives `None`; gives what is there if the lease is taken.
    pub(crate) async fn lease_beside(
        &self,
        slot: &Slot,
        lease: &Bytes,
        ttl: Duration,
    ) -> Result<Option<Bytes>, Error> {
        let key = self.lease_key(slot);
        self.redis.get_or_set(&key, lease.clone(), ttl).await
    }

    fn see(
        &self,
        slot: &Slot,
        key: &str,
        reply: Result<Option<Bytes>, Error>,
    ) -> Result<Sight, Error> {
        let (blob, seen) = match reply {
            Ok(Some(blob)) => {
                let seen = Seen::mark(&blob);
                (blob, seen)
            }
            Ok(None) => (Bytes::new(), Seen::Nothing),
            Err(error) if error.is_corrupt() => {
                static PACE: LogPace = LogPace::new();
                if let Some(omitted) = PACE.admit(uptime()) {
                    tracing::warn!(target: "tower_fred::store", key, %error, omitted, "foreign data under a cache key");
                }
                (Bytes::new(), Seen::Foreign)
            }
            Err(error) => return Err(error),
        };
        let entry = Entry::decode(blob.clone(), &slot.digest);
        let is_readable = entry.is_some() || Entry::is_of_another_version(&blob);
        if !is_readable && matches!(seen, Seen::Mark(_)) {
            static PACE: LogPace = LogPace::new();
            if let Some(omitted) = PACE.admit(uptime()) {
                tracing::warn!(target: "tower_fred::store", key, omitted, "unreadable data under a cache key");
            }
            self.redis.doubt(key);
        }
        let entry = entry.map(Arc::new);
        Ok(Sight { entry, blob, seen })
    }

    /// Stores an entry if what was `seen` is still there; false when it is not. `beside` is the lease beside the slot that
    /// was taken for it, which this deletes.
    pub(crate) async fn fill(
        &self,
        slot: &Slot,
        seen: &Seen,
        blob: Bytes,
        ttl: Duration,
        beside: Option<&Bytes>,
    ) -> Result<bool, Error> {
        let filled = self.send(slot, seen, blob, ttl, beside).await;
        self.is_refused.store(filled.is_err(), Ordering::Relaxed);
        self.shared_reads.forget(slot.digest());
        filled
    }

    async fn send(
        &self,
        slot: &Slot,
        seen: &Seen,
        blob: Bytes,
        ttl: Duration,
        beside: Option<&Bytes>,
    ) -> Result<bool, Error> {
        let key = self.key(slot);
        match seen {
            Seen::Nothing => self.redis.set_new(&key, blob, ttl).await,
            Seen::Foreign => self.set(slot, blob, ttl).await.map(|()| true),
            Seen::Unknown => Ok(false),
            Seen::Mark(mark) => {
                let lease = beside.map_or_else(Bytes::new, |lease| lease.slice(..MARK));
                let args = [
                    mark.clone().into(),
                    blob.into(),
                    millis(ttl).max(1).into(),
                    lease.into(),
                ];
                let (filled,): (i64,) = match beside {
                    None => self.redis.run(&FILL, &key, args).await?,
                    Some(_) => {
                        let keys = [key, self.lease_key(slot)];
                        self.redis.run_on(&FILL, &keys, args).await?
                    }
                };
                Ok(filled == 1)
            }
        }
    }

    /// Stores an entry, whatever was there.
    pub(crate) async fn set(&self, slot: &Slot, blob: Bytes, ttl: Duration) -> Result<(), Error> {
        self.redis.set(&self.key(slot), blob, ttl).await
    }

    /// Extends the expiry of an entry to `ttl` at least.
    pub(crate) async fn keep(&self, slot: &Slot, ttl: Duration) -> Result<(), Error> {
        self.redis.extend(&self.key(slot), ttl).await
    }

    /// Deletes an entry; whether there was one.
    pub(crate) async fn delete(&self, slot: &Slot) -> Result<bool, Error> {
        let deleted = self.redis.delete(&self.key(slot)).await;
        self.shared_reads.forget(slot.digest());
        deleted
    }

    /// Deletes an entry if it is still the one that was `seen`.
    pub(crate) async fn discard(&self, slot: &Slot, seen: &Seen) -> Result<(), Error> {
        match seen {
            Seen::Mark(mark) => {
                let mark = [mark.clone().into()];
                let key = self.key(slot);
                let discarded = self.redis.run::<()>(&RELEASE, &key, mark).await;
                self.shared_reads.forget(slot.digest());
                discarded
            }
            Seen::Nothing | Seen::Foreign | Seen::Unknown => Ok(()),
        }
    }

    /// Deletes a lease if it is still there.
    pub(crate) async fn release(&self, slot: &Slot, lease: &Lease) -> Result<(), Error> {
        let key = self.key_of(slot, lease);
        let mark = [lease.blob().slice(..MARK).into()];
        self.redis.run::<()>(&RELEASE, &key, mark).await
    }

    /// Replaces a lease with `blob` for `ttl`; false when the lease is not there any more.
    pub(crate) async fn replace_lease(
        &self,
        slot: &Slot,
        lease: &Lease,
        blob: Bytes,
        ttl: Duration,
    ) -> Result<bool, Error> {
        let key = self.key_of(slot, lease);
        let mark = lease.blob().slice(..MARK);
        let args = [mark.into(), blob.into(), millis(ttl).max(1).into()];
        let (replaced,): (i64,) = self.redis.run(&REPLACE, &key, args).await?;
        Ok(replaced == 1)
    }

    /// The Redis key of a lease.
    fn key_of(&self, slot: &Slot, lease: &Lease) -> String {
        match lease.is_beside() {
            true => self.lease_key(slot),
            false => self.key(slot),
        }
    }
}

static FILL: Script = Script::new(include_str!("lua/fill.lua"));
static REPLACE: Script = Script::new(include_str!("lua/replace.lua"));
static RELEASE: Script = Script::new(include_str!("lua/release.lua"));
