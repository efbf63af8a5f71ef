//! What many processes send to the server of the purge log while they do nothing but hit, and how long after a purge the
//! last of them uses what it named.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;
use tower_fred::{
    Redis,
    fred::{
        interfaces::ClientLike,
        types::{ClusterHash, CustomCommand, Value},
    },
    memo::Memo,
};

/// Each handle, with a client and a log of its own, stands for a process. All are in this one, so a thousand of them take
/// some hundred megabytes, and much of the time is theirs and not the server's.
pub(crate) async fn simulate(redis: &Redis, url: &str) {
    println!("processes that only hit: commands a second on the server of the log");
    println!(
        "  {:>9} {:>8} {:>12} {:>12} {:>12} {:>12}   last used after a purge",
        "processes", "bound", "reads of log", "waits", "comparisons", "a process"
    );
    for (processes, bound_ms) in [(100, 50), (100, 1000), (1000, 1000)] {
        let bound = Duration::from_millis(bound_ms);
        row(redis, url, processes, bound).await;
    }
    println!();
}

async fn row(redis: &Redis, url: &str, processes: usize, bound: Duration) {
    let namespace = format!("{}-{processes}-{}", redis.namespace(), bound.as_millis());
    let connect = || async {
        let builder = Redis::builder().namespace(&namespace).coherence(bound);
        builder.connect(url).await.expect("a server")
    };
    let mut memos = Vec::new();
    while memos.len() < processes {
        let some = (memos.len()..processes).take(AT_ONCE);
        let some = join_all(some.map(|_| connect())).await;
        memos.extend(some.into_iter().map(memo));
    }
    let here = connect().await;
    memo(here.clone()).set(1, &1).await.expect("set");
    let readers: Vec<_> = memos
        .into_iter()
        .map(|memo| tokio::spawn(read(memo)))
        .collect();
    // Until all of them read from their near tier, and wait for purges; there is no event to wait for.
    sleep(SETTLE).await;
    let before = counts(redis).await;
    let began = Instant::now();
    sleep(MEASURED).await;
    let after = counts(redis).await;
    let seconds = began.elapsed().as_secs_f64();
    here.purge().tag("simulated").await.expect("purged");
    let purged = Instant::now();
    let known = join_all(readers).await.into_iter().map(|used| {
        let used = used.expect("no panic");
        used.saturating_duration_since(purged)
    });
    let most = known.max().unwrap_or_default();
    let [reads, waits, comparisons] =
        [0, 1, 2].map(|index| (after[index] - before[index]) as f64 / seconds);
    println!(
        "  {processes:>9} {:>5} ms {reads:>12.0} {waits:>12.0} {comparisons:>12.0} {:>12.1}   {:.0} ms",
        bound.as_millis(),
        (reads + waits + comparisons) / processes as f64,
        most.as_secs_f64() * 1e3,
    );
}

fn memo(redis: Redis) -> Memo<u32> {
    let memo = Memo::new(redis, "simulated", Duration::from_secs(600));
    memo.near(1 << 16).tag("simulated")
}

/// Reads a value fifty times a second until there is none; gives the time when the last read began that found it.
async fn read(memo: Memo<u32>) -> Instant {
    let mut used = None;
    loop {
        let began = Instant::now();
        match memo.get(1).await {
            Ok(Some(_)) => used = Some(began),
            Ok(None) => {
                if let Some(used) = used {
                    return used;
                }
            }
            // Too many tasks in one process: a read that takes too long uses nothing.
            Err(_) => {}
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// How often the log was read, was waited for, and near copies were compared with their entries.
async fn counts(redis: &Redis) -> [u64; 3] {
    let info = CustomCommand::new_static("INFO", ClusterHash::Random, false);
    let section = vec![Value::from("commandstats")];
    let reply = redis.client().custom::<String, _>(info, section).await;
    let stats = reply.expect("statistics");
    ["xrange", "xread", "getrange"].map(|command| {
        let stat = stats.split_once(&format!("cmdstat_{command}:calls="));
        let number = stat.and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
        number.unwrap_or(0)
    })
}

const AT_ONCE: usize = 50;
const SETTLE: Duration = Duration::from_secs(6);
const MEASURED: Duration = Duration::from_secs(5);
