//! The byte store: hits from this process and from Redis by size, beside one GET of the same size; and a purge.

use std::{hint::black_box, time::Duration};

use tower_fred::{Redis, fred::interfaces::KeysInterface, memo::Memo};

use crate::harness::{Case, LOOP, SIZES};

const HOUR: Duration = Duration::from_secs(3600);
pub(crate) async fn cases(redis: &Redis) -> Vec<Case> {
    let mut cases = Vec::new();
    for (size, name) in SIZES {
        cases.extend(remote(redis, size, name).await);
    }
    cases.push(purge(redis).await);
    cases
}

fn text(size: usize) -> String {
    "x".repeat(size)
}

async fn remote(redis: &Redis, size: usize, name: &str) -> [Case; 2] {
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
    let (baseline, name) = (
        format!("store, one GET, {name}"),
        format!("memo, remote hit, {name}"),
    );
    [
        Case::new(&baseline, &[], get),
        Case::new(name, &[&baseline], hit).target("<= 1.15 x"),
    ]
}

/// Hits in this process in a loop, by one task and by two at the same time.
pub(crate) async fn on_threads(redis: &Redis) -> Vec<Case> {
    let memo: Memo<String> = Memo::new(redis.clone(), "bench-near", HOUR).near(64 << 20);
    memo.set(1, &text(200)).await.expect("set");
    for _ in 0..3 {
        memo.get(1).await.expect("a value");
    }
    let case = |tasks: usize, name: &str| {
        let memo = memo.clone();
        Case::in_tasks(name, &[], tasks, move || {
            let memo = memo.clone();
            async move {
                for _ in 0..LOOP {
                    black_box(memo.get(1).await.expect("a value"));
                }
            }
        })
    };
    vec![
        case(1, "memo, near hit of 200 B, 1 thread"),
        case(2, "memo, near hit of 200 B, 2 threads"),
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
