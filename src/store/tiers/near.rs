//! The near tier: entries in the memory of this process.

use std::{
    fmt,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
};

use bytes::Bytes;
use quick_cache::{
    OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};
use tokio::sync::Notify;

use crate::{
    log_pace::{LogPace, uptime},
    store::entry::{
        decode::{Entry, PACKED},
        key::Digest,
        slot::{Held, Seen},
    },
};

/// An entry in the near tier, and when it was last compared with Redis.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) held: Held,
    weight: u32,
    /// In microseconds of [`clock`](crate::store::purge_log::clock::clock).
    pub(crate) confirmed_at: AtomicU64,
    /// The [generation](crate::store::purge_log::log::Log::generation) of the purge log at which it was last found to hold.
    pub(crate) held_at: AtomicU64,
    /// Whether it is being compared now.
    pub(crate) rechecking: AtomicBool,
    /// Notified when a comparison ends.
    pub(crate) rechecked: Notify,
}

impl Kept {
    pub(crate) fn entry(&self) -> &Entry {
        &self.held.entry
    }
}

/// Entries up to a number of bytes; the least used are evicted first.
///
/// The reader judges each time whether an entry may be used.
pub(crate) struct Near {
    cache: Cache<Digest, Arc<Kept>, Weight, BuildHasherDefault<DigestHasher>>,
    /// Fingerprints of the entries that were offered lately. An entry is admitted when it is offered a second time: most
    /// keys are read once.
    offered: Box<[AtomicU32]>,
    /// The weight of the heaviest entry that a shard keeps.
    heaviest: u64,
}

impl Near {
    pub(crate) fn new(bytes: usize) -> Self {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        Self::with_cpus(bytes, cpus)
    }

    fn with_cpus(bytes: usize, cpus: usize) -> Self {
        let items = (bytes / TYPICAL).clamp(16, 1 << 20);
        let options = OptionsBuilder::new()
            .shards(shards(bytes, cpus))
            .estimated_items_capacity(items)
            .weight_capacity(bytes as u64)
            .hot_allocation(HOT)
            .build()
            .expect("the capacities are set");
        let cache = Cache::with_options(
            options,
            Weight,
            BuildHasherDefault::default(),
            DefaultLifecycle::default(),
        );
        Self {
            heaviest: (cache.shard_capacity() as f64 * HOT) as u64,
            cache,
            offered: (0..OFFERS).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<Kept>> {
        self.cache.get(digest)
    }

    pub(crate) fn remove(&self, digest: &Digest) {
        self.cache.remove(digest);
    }

    /// Offers an entry that was read from `blob` now.
    pub(crate) fn offer(&self, digest: &Digest, blob: &Bytes, seen: &Seen, now: u64) {
        if !self.is_known(digest) {
            return;
        }
        // The blob may be part of a larger buffer, which the entry would keep in memory: it is copied.
        if let Some(entry) = Entry::decode(Bytes::copy_from_slice(blob), digest) {
            // A decompressed body has memory of its own, beside the compressed one that the fields keep in memory.
            let is_packed = blob.get(11).is_some_and(|kind| kind & PACKED != 0);
            let unpacked = if is_packed { entry.body().len() } else { 0 };
            let weight = blob.len().saturating_add(unpacked);
            let weight = u32::try_from(weight).unwrap_or(u32::MAX);
            let weight = weight.saturating_add(overhead(&entry));
            if u64::from(weight) > self.heaviest {
                self.note_too_large(weight);
                return;
            }
            let held = Held {
                entry: Arc::new(entry),
                seen: seen.clone(),
            };
            let kept = Kept {
                held,
                weight,
                confirmed_at: AtomicU64::new(now),
                held_at: AtomicU64::new(0),
                rechecking: AtomicBool::new(false),
                rechecked: Notify::new(),
            };
            self.cache.insert(*digest, Arc::new(kept));
        }
    }

    fn note_too_large(&self, weight: u32) {
        static TOO_LARGE: LogPace = LogPace::new();
        if let Some(omitted) = TOO_LARGE.admit(uptime()) {
            let most = self.heaviest;
            tracing::warn!(
                target: "tower_fred::store",
                bytes = weight, most, omitted,
                "an entry is too large to be kept in this process: `near` needs more bytes"
            );
        }
    }

    fn is_known(&self, digest: &Digest) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
        // Not the bytes that the hasher of the cache uses.
        let place = u32::from_le_bytes([a, b, c, d]) as usize % self.offered.len();
        let print = u32::from_le_bytes([e, f, g, h]) | 1;
        self.offered[place].swap(print, Ordering::Relaxed) == print
    }
}

/// The number of parts that each have a lock and an equal share of the bytes. An entry has to fit into one part: there are
/// as many parts as the CPUs can use, but none is too small for an entry of [`LARGEST`] bytes or an eighth of all bytes.
fn shards(bytes: usize, cpus: usize) -> usize {
    let largest = (bytes / 8).min(LARGEST);
    let share = largest + largest / 16 + 4096;
    let most = (bytes / share).min(cpus.saturating_mul(4)).max(1);
    1 << most.ilog2()
}

/// The memory that an entry takes beside the bytes from which it was read.
fn overhead(entry: &Entry) -> u32 {
    let fields = match entry {
        Entry::Response(stored) => stored.head.headers.len(),
        Entry::Variants(variants) => variants.names.len(),
        Entry::Value(_) | Entry::Lease => 0,
    };
    u32::try_from(fields)
        .unwrap_or(u32::MAX)
        .saturating_mul(128)
        .saturating_add(640)
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Digest, Arc<Kept>> for Weight {
    fn weight(&self, _: &Digest, kept: &Arc<Kept>) -> u64 {
        u64::from(kept.weight)
    }
}

/// Takes the last bytes of a digest as the hash: they are evenly distributed.
#[derive(Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    fn write_usize(&mut self, _: usize) {}
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Near")
            .field("entries", &self.cache.len())
            .field("bytes", &self.cache.weight())
            .finish_non_exhaustive()
    }
}

const OFFERS: usize = 1 << 14;
const TYPICAL: usize = 2048;
/// The part of a shard that entries which were read more than once may take: the bound of a single entry, too.
const HOT: f64 = 0.97;
/// How large an entry may be that is kept whatever the number of CPUs.
const LARGEST: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::{encode::Writer, key::KeyBuilder, lifetime::Life};

    fn digest(number: u64) -> Digest {
        KeyBuilder::new("test").part(&number.to_le_bytes()).finish()
    }

    fn blob(digest: &Digest, size: usize) -> Bytes {
        Writer::value(&Life::default(), &vec![b'x'; size], digest, None)
    }

    #[test]
    fn what_is_offered_twice_is_let_in() {
        let near = Near::new(1 << 20);
        let digest = digest(1);
        near.offer(&digest, &blob(&digest, 10), &Seen::Nothing, 1);
        assert!(near.get(&digest).is_none());
        near.offer(&digest, &blob(&digest, 10), &Seen::Nothing, 1);
        assert!(near.get(&digest).is_some());
        near.remove(&digest);
        assert!(near.get(&digest).is_none());
    }

    #[test]
    fn it_shares_no_bytes_with_what_was_read() {
        let near = Near::new(1 << 20);
        let digest = digest(1);
        let blob = blob(&digest, 10);
        near.offer(&digest, &blob, &Seen::Nothing, 1);
        near.offer(&digest, &blob, &Seen::Nothing, 1);
        let kept = near.get(&digest).expect("an entry");
        let Entry::Value(value) = &*kept.held.entry else {
            panic!("a value");
        };
        assert_eq!(value.bytes, vec![b'x'; 10]);
        assert!(!blob.as_ptr_range().contains(&value.bytes.as_ptr()));
    }

    /// The parts were four for each CPU: with many CPUs an entry of a 250th of the bytes was left out, and nothing said so.
    #[test]
    fn an_eighth_of_the_bytes_fits_whatever_the_number_of_cpus() {
        for cpus in [1, 2, 3, 64, 1024] {
            for bytes in [64 << 10, 1 << 20, 10 << 20, 64 << 20] {
                let near = Near::with_cpus(bytes, cpus);
                let digest = digest(1);
                let blob = blob(&digest, (bytes / 8).min(LARGEST) - 256);
                near.offer(&digest, &blob, &Seen::Nothing, 1);
                near.offer(&digest, &blob, &Seen::Nothing, 1);
                assert!(near.get(&digest).is_some(), "{bytes} bytes, {cpus} CPUs");
            }
        }
        assert_eq!(shards(1 << 30, 64), 64, "large caches have enough parts");
        assert_eq!((shards(1, 64), shards(0, 0)), (1, 1));
    }

    #[test]
    fn what_is_too_large_is_left_out() {
        let near = Near::with_cpus(1 << 20, 2);
        let digest = digest(1);
        let blob = blob(&digest, 1 << 20);
        near.offer(&digest, &blob, &Seen::Nothing, 1);
        near.offer(&digest, &blob, &Seen::Nothing, 1);
        assert!(near.get(&digest).is_none());
    }

    #[test]
    fn a_million_keys_stay_within_the_bytes() {
        const BYTES: usize = 1 << 20;
        let near = Near::new(BYTES);
        let one = digest(0);
        for _ in 0..2 {
            near.offer(&one, &blob(&one, 200), &Seen::Nothing, 1);
        }
        let kept = near.cache.get(&one).expect("an entry");
        for number in 0..1_000_000 {
            near.cache.insert(digest(number), Arc::clone(&kept));
            if number % 1000 == 0 {
                assert!(near.cache.weight() <= BYTES as u64);
            }
        }
        assert!(near.cache.weight() <= BYTES as u64, "{near:?}");
        assert!(near.cache.weight() > BYTES as u64 / 2, "{near:?}");
    }
}
