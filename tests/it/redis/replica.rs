//! A server that becomes a replica while others write: reads go on, and writes find the primary.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use tower_fred::{
    Redis,
    fred::{
        clients::Client,
        interfaces::{ClientLike, KeysInterface},
        types::{ClusterHash, CustomCommand, InfoKind},
    },
    rate_limit::{Quota, RateLimiter},
    redis::Health,
};

use crate::support::{
    Server, patiently,
    proxy::Proxy,
    server::{free_port, namespace},
};

/// Readers and writers who ask again at once.
struct Traffic {
    over: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    written: Arc<AtomicUsize>,
    writers: Vec<JoinHandle<()>>,
    readers: Vec<JoinHandle<usize>>,
}

impl Traffic {
    fn start(redis: &Redis) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (refused, written) = (Arc::default(), Arc::default());
        let writers = (0..4).map(|number| {
            let limiter = RateLimiter::new(redis.clone(), Quota::per_second(1_000_000));
            let (over, refused, written): (_, Arc<AtomicUsize>, Arc<AtomicUsize>) = (
                Arc::clone(&over),
                Arc::clone(&refused),
                Arc::clone(&written),
            );
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let outcome = limiter.check(&format!("writer {number}")).await;
                    let count = if outcome.is_ok() { &written } else { &refused };
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        });
        let readers = (0..4).map(|_| {
            let (redis, over) = (redis.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut failures = 0;
                while !over.load(Ordering::Relaxed) {
                    failures += usize::from(redis.ping().await.is_err());
                }
                failures
            })
        });
        Self {
            writers: writers.collect(),
            readers: readers.collect(),
            over,
            refused,
            written,
        }
    }

    async fn until_more(count: &AtomicUsize, than: usize) {
        let begin = count.load(Ordering::Relaxed);
        patiently("more outcomes", async {
            while count.load(Ordering::Relaxed) < begin + than {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    /// How many reads failed.
    async fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.expect("a writer");
        }
        let mut failures = 0;
        for reader in self.readers {
            failures += reader.await.expect("a reader");
        }
        failures
    }
}

async fn replicate(admin: &Client, host: &str, port: &str) {
    let command = CustomCommand::new_static("REPLICAOF", ClusterHash::Random, false);
    let _: () = admin
        .custom(command, vec![host.to_owned(), port.to_owned()])
        .await
        .expect("REPLICAOF");
}

/// How many connections the server ever had.
async fn connections(admin: &Client) -> usize {
    let info: String = admin.info(Some(InfoKind::Stats)).await.expect("INFO");
    let mut lines = info.lines();
    let count = lines.find_map(|line| line.strip_prefix("total_connections_received:"));
    count.expect("a count").trim().parse().expect("a number")
}

async fn handle(url: &str) -> Redis {
    let builder = Redis::builder().namespace(namespace());
    // No read may fail because the machine is slow.
    let builder = builder.deadline(Duration::from_secs(2));
    builder.connect(url).await.expect("a handle")
}

/// Each refused write dropped the connection and failed what was in flight on it: nearly half of the reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_on_a_replica_go_on_whoever_writes() {
    let server = Server::start();
    let (admin, redis) = (server.admin().await, handle(&server.url()).await);
    let traffic = Traffic::start(&redis);
    Traffic::until_more(&traffic.written, 100).await;

    replicate(&admin, "127.0.0.1", &free_port().to_string()).await;
    let before = connections(&admin).await;
    let begin = Instant::now();
    Traffic::until_more(&traffic.refused, 2000).await;
    tokio::time::sleep(Duration::from_secs(1).saturating_sub(begin.elapsed())).await;
    let allowed = 2 + 5 * begin.elapsed().as_secs() as usize;
    let opened = connections(&admin).await - before;
    assert!(
        opened <= allowed,
        "{opened} connections in {:?}",
        begin.elapsed()
    );

    replicate(&admin, "NO", "ONE").await;
    let begin = Instant::now();
    Traffic::until_more(&traffic.written, 100).await;
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(redis.health(), Health::Up);
    assert_eq!(traffic.end().await, 0, "reads failed");
}

/// Only a connection that broke found the primary: one to a server that lived on as a replica stayed where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_follow_the_address_to_another_primary() {
    let (old, new) = (Server::start(), Server::start());
    let proxy = Proxy::start(old.port()).await;
    let redis = handle(&proxy.url()).await;
    let traffic = Traffic::start(&redis);
    Traffic::until_more(&traffic.written, 100).await;

    proxy.lead_to(new.port());
    let admin = old.admin().await;
    replicate(&admin, "127.0.0.1", &new.port().to_string()).await;
    Traffic::until_more(&traffic.refused, 1).await;
    let begin = Instant::now();
    Traffic::until_more(&traffic.written, 100).await;
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );

    // The application's own client gets there too, and no connection is left behind.
    let raw = redis.client();
    let key = format!("{}:mark", redis.namespace());
    patiently("a client on the new primary", async {
        while raw
            .set::<(), _, _>(&key, 1, None, None, false)
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let fresh = new.admin().await;
    patiently("one connection", async {
        while clients(&fresh).await > 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(traffic.end().await, 0, "reads failed");
    redis.ping().await.expect("a sign of life");
}

/// How many clients that are no replicas are connected.
async fn clients(admin: &Client) -> usize {
    let command = CustomCommand::new_static("CLIENT", ClusterHash::Random, false);
    let list: String = admin
        .custom(command, vec!["LIST", "TYPE", "normal"])
        .await
        .expect("CLIENT LIST");
    list.lines().count()
}
