//! The byte store: from this process and from Redis, by size, beside one GET of the same size; writing, and purging.

use std::{hint::black_box, time::Duration};

use tower_fred::{Redis, fred::interfaces::KeysInterface, memo::Memo};

use crate::harness::Case;

const HOUR: Duration = Duration::from_secs(3600);
/// Names of a case and of its baseline, and bytes.
const SIZES: [(&str, &str, usize); 4] = [
    ("store, remote hit, 200 B", "GET, 200 B", 200),
    ("store, remote hit, 1 KiB", "GET, 1 KiB", 1024),
    ("store, remote hit, 16 KiB", "GET, 16 KiB", 16 << 10),
    ("store, remote hit, 256 KiB", "GET, 256 KiB", 256 << 10),
];

pub(crate) async fn cases(redis: &Redis) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, baseline, size) in SIZES {
        cases.extend(remote(redis, name, baseline, size).await);
    }
    cases.extend(near(redis).await);
    cases.push(purge(redis).await);
    cases
}

fn text(size: usize) -> String {
    "x".repeat(size)
}

async fn remote(
    redis: &Redis,
    name: &'static str,
    baseline: &'static str,
    size: usize,
) -> [Case; 2] {
    let key = format!("{}:raw:{size}", redis.namespace());
    let value = text(size);
    let client = redis.client();
    let _: () = client
        .set(&key, &value, None, None, false)
        .await
        .expect("SET");
    let memo: Memo<String> = Memo::new(redis.clone(), "bench", HOUR);
    memo.set(size, &value).await.expect("set");
    let get = move || {
        let (client, key) = (client.clone(), key.clone());
        async move {
            let value: bytes::Bytes = client.get(&key).await.expect("GET");
            black_box(value);
        }
    };
    let hit = move || {
        let memo = memo.clone();
        async move {
            black_box(memo.get(size).await.expect("a value"));
        }
    };
    let beside: &'static [&'static str] = match size {
        200 => &["GET, 200 B"],
        1024 => &["GET, 1 KiB"],
        16_384 => &["GET, 16 KiB"],
        _ => &["GET, 256 KiB"],
    };
    [Case::new(baseline, &[], get), Case::new(name, beside, hit)]
}

/// Each run is a thousand hits, so that starting it does not count: the figure is to be divided by a thousand.
async fn near(redis: &Redis) -> [Case; 2] {
    let memo: Memo<String> = Memo::new(redis.clone(), "bench-near", HOUR).near(64 << 20);
    memo.set(1, &text(200)).await.expect("set");
    for _ in 0..3 {
        memo.get(1).await.expect("a value");
    }
    let thousand = async |memo: Memo<String>| {
        for _ in 0..1000 {
            black_box(memo.get(1).await.expect("a value"));
        }
    };
    let two = memo.clone();
    [
        Case::new("store, 1000 near hits, 1 thread", &[], move || {
            thousand(memo.clone())
        }),
        Case::new("store, 2 x 1000 near hits, 2 threads", &[], move || {
            let tasks = [two.clone(), two.clone()].map(|memo| tokio::spawn(thousand(memo)));
            async move {
                for task in tasks {
                    task.await.expect("no panic");
                }
            }
        }),
    ]
}

/// A purge of a tag that a hundred thousand entries have.
async fn purge(redis: &Redis) -> Case {
    let memo: Memo<u32> = Memo::new(redis.clone(), "bench-tagged", HOUR).tag("bench");
    let fill = |from: u32| {
        let memo = memo.clone();
        async move {
            for number in from..from + 1000 {
                memo.get_or_set(number, async || number).await;
            }
        }
    };
    futures_util::future::join_all((0..100).map(|part| fill(part * 1000))).await;
    let purge = redis.purge();
    Case::new(
        "store, purge of 100,000 entries",
        &["bare + EVALSHA"],
        move || {
            let purge = purge.clone();
            async move { purge.tag("bench").await.expect("purged") }
        },
    )
}
