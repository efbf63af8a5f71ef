//! A cluster under load while slots move and servers are killed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};
use tower_fred::{
    Error, Redis,
    fred::{interfaces::KeysInterface, util::redis_keyslot},
    memo::Memo,
    redis::Health,
    session::SessionStore,
};

use crate::support::{command::run, patiently, server::until_up, topology::Cluster};

/// fred's own cluster client gives callers thousands of other callers' values here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moving_slot_never_gives_a_wrong_value() {
    let cluster = Cluster::start().await;
    let redis = cluster.redis().await;
    let load = Load::start(&redis).await;
    let (slot, key) = a_stored_key(&cluster, 0).await;

    cluster.begin_migration(slot, 1).await;
    // The old owner answers ASK for a key that it does not have.
    let _: i64 = cluster.admin(0).del(&key).await.expect("del");
    load.rounds(20).await;
    let seen = load.take();
    assert_eq!(seen.wrong, 0, "{seen:?}");
    assert!(
        seen.failed > 0,
        "no command went to the moving slot: {seen:?}"
    );
    assert!(
        // One of the keys fails. Twice as many failures leave room for the moments of the change.
        seen.failed <= 2 * seen.right / KEYS,
        "other slots failed as well: {seen:?}"
    );

    cluster.end_migration(slot, 1).await;
    load.until_served().await;
}

/// Valkey 9 moves many slots at once, and holds back writes and scripts meanwhile. Its map gives names, not addresses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_at_once_never_give_a_wrong_value() {
    let cluster = Cluster::start().await;
    let help: Vec<String> = run(cluster.admin(0), "CLUSTER", &["HELP"])
        .await
        .expect("a text");
    if !help.iter().any(|line| line.starts_with("MIGRATESLOTS")) {
        println!("skipped: this server cannot move slots atomically");
        return;
    }
    let names = [
        ("cluster-announce-hostname", "localhost"),
        ("cluster-preferred-endpoint-type", "hostname"),
    ];
    for (setting, value) in names {
        cluster.config(setting, value).await;
    }
    let redis = cluster.redis().await;
    let load = Load::start(&redis).await;
    load.rounds(5).await;
    load.take();
    // To and fro: all slots of the first primary, so each of its keys has moved twice.
    for (from, to) in [(0, 1), (1, 0)] {
        cluster.migrate_atomically((0, 5460), from, to).await;
        load.rounds(5).await;
    }
    let seen = load.take();
    assert_eq!(seen.wrong, 0, "{seen:?}");
    assert!(
        seen.right > 10 * seen.failed,
        "more than moments were lost: {seen:?}"
    );
    load.until_served().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_delays_no_other_and_its_replica_takes_over() {
    let cluster = Cluster::start().await;
    // Otherwise all primaries refuse commands after a while.
    cluster.config("cluster-require-full-coverage", "no").await;
    let redis = cluster.redis().await;
    let mut health = redis.watch_health();
    let load = Load::start(&redis).await;

    // Not the primary with the purge log: without the log, no value of any primary is used.
    let log = format!("{}:purges", redis.namespace());
    let keeper = Cluster::owner(redis_keyslot(log.as_bytes()));
    cluster.servers[(keeper + 1) % 3].kill();
    health
        .wait_for(|health| *health == Health::Partial)
        .await
        .expect("the handle lives");
    load.take();
    load.rounds(20).await;
    let seen = load.take();
    assert_eq!(seen.wrong, 0, "{seen:?}");
    assert!(
        seen.right > seen.failed,
        "two of three primaries are there: {seen:?}"
    );

    until_up(&redis).await;
    load.until_served().await;
}

/// A stored key on the primary with this index, and its slot.
async fn a_stored_key(cluster: &Cluster, primary: usize) -> (u16, String) {
    let mut key = String::from(":u:");
    // The readers do not read the index of a user's sessions.
    while key.contains(":u:") {
        let random = run(cluster.admin(primary), "RANDOMKEY", &[]);
        key = random.await.expect("a key");
    }
    (redis_keyslot(key.as_bytes()), key)
}

/// Tasks that read values until it is dropped. Each value contains its key.
struct Load {
    seen: Arc<Seen>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    right: AtomicUsize,
    wrong: AtomicUsize,
    failed: AtomicUsize,
    rounds: watch::Sender<usize>,
}

#[derive(Debug)]
struct Summary {
    right: usize,
    wrong: usize,
    failed: usize,
}

impl Load {
    async fn start(redis: &Redis) -> Self {
        let stored = Arc::new(Stored::new(redis).await);
        let seen = Arc::new(Seen::default());
        let readers = (0..16)
            .map(|_| tokio::spawn(read(Arc::clone(&stored), Arc::clone(&seen))))
            .collect();
        Self { seen, readers }
    }

    /// Waits until the readers have read all keys `more` times, on average.
    async fn rounds(&self, more: usize) {
        let mut rounds = self.seen.rounds.subscribe();
        let target = *rounds.borrow() + more * self.readers.len();
        let read = rounds.wait_for(|rounds| *rounds >= target);
        patiently("readers", read).await.expect("readers");
    }

    /// Waits until the readers have read all keys five times without a failure.
    async fn until_served(&self) {
        loop {
            self.take();
            self.rounds(5).await;
            let seen = self.take();
            assert_eq!(seen.wrong, 0, "{seen:?}");
            if seen.failed == 0 {
                return;
            }
        }
    }

    /// The counts since the last call.
    fn take(&self) -> Summary {
        Summary {
            right: self.seen.right.swap(0, Ordering::Relaxed),
            wrong: self.seen.wrong.swap(0, Ordering::Relaxed),
            failed: self.seen.failed.swap(0, Ordering::Relaxed),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for reader in &self.readers {
            reader.abort();
        }
    }
}

/// Values and sessions that contain their keys.
struct Stored {
    values: Memo<String>,
    sessions: SessionStore,
    cookies: Vec<String>,
}

impl Stored {
    async fn new(redis: &Redis) -> Self {
        let values: Memo<String> = Memo::new(redis.clone(), "values", Duration::from_secs(600));
        let sessions = SessionStore::new(redis.clone());
        let mut cookies = Vec::new();
        for key in 0..KEYS {
            let name = key.to_string();
            values.set(key, &name).await.expect("a stored value");
            let token = sessions
                .create_for(name, &json!({}))
                .await
                .expect("a session");
            cookies.push(token.cookie_value());
        }
        Self {
            values,
            sessions,
            cookies,
        }
    }

    /// The keys that the value and the session of `key` contain; `None` when it was deleted.
    async fn names(&self, key: usize) -> [Result<Option<String>, Error>; 2] {
        let session = self.sessions.load(&self.cookies[key]).await;
        let user = session.map(|record| record.and_then(|record| record.user().map(str::to_owned)));
        [self.values.get(key).await, user]
    }
}

async fn read(stored: Arc<Stored>, seen: Arc<Seen>) {
    loop {
        for key in 0..KEYS {
            for name in stored.names(key).await {
                let counter = match name {
                    Ok(Some(name)) if name == key.to_string() => &seen.right,
                    Ok(Some(_)) => &seen.wrong,
                    // The deleted value, once its new owner is known.
                    Ok(None) => continue,
                    Err(_) => &seen.failed,
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
        seen.rounds.send_modify(|rounds| *rounds += 1);
        tokio::task::yield_now().await;
    }
}

const KEYS: usize = 30;
