//! The time from a purge until another process knows of it.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Builder,
    sync::mpsc::{Receiver, Sender, channel},
    task::yield_now,
};
use tower_fred::{Redis, memo::Memo};

use crate::harness::median;

/// A second handle, on a thread and a runtime of its own, stands for another process. It reads a value from its near tier in
/// a loop until it no longer gets the value that was purged here.
pub(crate) async fn compare(redis: &Redis, url: &str) {
    let (rounds, asked) = channel(1);
    let (answers, mut answered) = channel(1);
    let (namespace, url) = (redis.namespace().to_owned(), url.to_owned());
    let other = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(async {
            let redis = Redis::builder().namespace(namespace).connect(&url).await;
            read(memo(redis.expect("a server")), asked, answers).await;
        });
    });
    let here = memo(redis.clone());
    let purge = redis.purge();
    let (mut confirmed, mut known) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        here.set(round, &round).await.expect("set");
        rounds.send(round).await.expect("a reader");
        answered.recv().await.expect("a reader");
        // The reader then reads in a loop; there is no event to wait for.
        tokio::time::sleep(Duration::from_millis(3)).await;
        let sent = Instant::now();
        purge.tag("heard").await.expect("purged");
        confirmed.push(sent.elapsed());
        let heard = answered.recv().await.expect("a reader");
        known.push(heard.saturating_duration_since(sent));
    }
    drop(rounds);
    other.join().expect("no panic");
    println!("a purge, from when it is sent");
    report("confirmed to the caller", &confirmed, "");
    report("known to another process", &known, "about 1000");
    println!();
}

fn memo(redis: Redis) -> Memo<u32> {
    let memo = Memo::new(redis, "heard", Duration::from_secs(600));
    memo.near(1 << 20).tag("heard")
}

/// Sends the time when it begins to read in a loop, and the time when the first read began that found no value.
async fn read(memo: Memo<u32>, mut rounds: Receiver<u32>, answers: Sender<Instant>) {
    while let Some(round) = rounds.recv().await {
        // The near tier keeps what was read from Redis twice.
        for _ in 0..3 {
            let value = memo.get(round).await.expect("an answer");
            assert_eq!(value, Some(round), "before it is purged");
        }
        answers.send(Instant::now()).await.expect("a bench");
        let gone = loop {
            // Lets the task run that reads the purge log. The read itself waits for nothing.
            yield_now().await;
            let began = Instant::now();
            if memo.get(round).await.expect("an answer").is_none() {
                break began;
            }
        };
        answers.send(gone).await.expect("a bench");
    }
}

fn report(name: &str, samples: &[Duration], target: &str) {
    let micros = |sample: &Duration| sample.as_secs_f64() * 1e6;
    let middle = median(samples.iter().map(micros).collect());
    let most = samples.iter().max().map_or(0.0, micros);
    println!(
        "  {name:<36} {middle:>10.0} us {:>10}   {target:<18}at most {most:.0} us",
        ""
    );
}

const ROUNDS: u32 = 101;
