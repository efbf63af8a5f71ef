//! What is an outage and what is not: writes that the server holds back, and a process that is late itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tower_fred::{
    Redis,
    fred::{
        interfaces::ClientLike,
        types::{ClusterHash, CustomCommand},
    },
    rate_limit::{Quota, RateLimiter},
    redis::Health,
};

use crate::support::{Server, patiently, server::namespace};

/// Every change of a handle's health.
fn changes(redis: &Redis) -> JoinHandle<Vec<Health>> {
    let mut health = redis.watch_health();
    tokio::spawn(async move {
        let mut seen = Vec::new();
        while health.changed().await.is_ok() {
            seen.push(*health.borrow_and_update());
        }
        seen
    })
}

/// A `PING` was answered while scripts were not: Up and Down again several times a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_the_server_holds_back_are_one_outage() {
    let server = Server::start();
    let redis = server.redis().await;
    let seen = changes(&redis);
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|number| {
            let (redis, over) = (redis.clone(), Arc::clone(&over));
            let limiter = RateLimiter::new(redis.clone(), Quota::per_second(1_000_000));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    if number % 2 == 0 {
                        let _ = limiter.check(&format!("caller {number}")).await;
                    } else {
                        let _ = redis.ping().await;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    let limiter = RateLimiter::new(redis.clone(), Quota::per_day(1_000_000));
    limiter.check("anybody").await.expect("a decision");

    let command = CustomCommand::new_static("CLIENT", ClusterHash::Random, false);
    let pause = vec!["PAUSE", "2000", "WRITE"];
    let admin = server.admin().await;
    let _: () = admin.custom(command, pause).await.expect("CLIENT PAUSE");
    let begin = Instant::now();
    for wanted in [Health::Down, Health::Up] {
        let mut health = redis.watch_health();
        let change = health.wait_for(|health| *health == wanted);
        patiently("a change of health", change)
            .await
            .expect("the handle lives");
    }
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    // Long enough for another change, were there one.
    for _ in 0..20 {
        limiter.check("anybody").await.expect("a decision");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    over.store(true, Ordering::Relaxed);
    join_all(callers).await;
    drop((redis, limiter));
    let seen = seen.await.expect("the changes");
    assert_eq!(seen, [Health::Down, Health::Up]);
}

/// Commands that waited for the CPU of this process were taken for unanswered: Redis was Down several times.
#[tokio::test]
async fn a_process_that_is_late_itself_sees_no_outage() {
    let server = Server::start();
    let redis = Redis::builder()
        .namespace(namespace())
        .max_in_flight(4096)
        .connect(&server.url())
        .await
        .expect("a handle");
    let seen = changes(&redis);
    let limiter = RateLimiter::new(redis.clone(), Quota::per_second(1_000_000));
    for stall in [255, 265, 300, 500, 1000] {
        let burst = (0..2000).map(|number| {
            let (limiter, redis) = (limiter.clone(), redis.clone());
            tokio::spawn(async move {
                if number % 2 == 0 {
                    limiter.check("anybody").await.is_ok()
                } else {
                    redis.ping().await.is_ok()
                }
            })
        });
        let burst: Vec<_> = burst.collect();
        // Behind all of them, and before the task that sends their commands.
        let blocker = tokio::spawn(async move {
            std::thread::sleep(Duration::from_millis(stall));
        });
        blocker.await.expect("a stall");
        join_all(burst).await;
        patiently("an answer", async { while redis.ping().await.is_err() {} }).await;
        assert_eq!(redis.health(), Health::Up, "after {stall} ms");
    }
    // Many small pieces of work, none of which is long.
    let busy = (0..2000).map(|_| {
        let redis = redis.clone();
        tokio::spawn(async move {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_micros(200) {}
            redis.ping().await.is_ok()
        })
    });
    join_all(busy.collect::<Vec<_>>()).await;

    // What does not answer is found out all the same.
    server.stop();
    let begin = Instant::now();
    let mut health = redis.watch_health();
    let down = async {
        let down = health.wait_for(|health| *health == Health::Down).await;
        down.is_ok()
    };
    let (_, down) = tokio::join!(join_all((0..8).map(|_| redis.ping())), down);
    assert!(down, "the handle lives");
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    drop((redis, limiter));
    // A handle that is gone has no server that is down.
    let seen = seen.await.expect("the changes");
    assert_eq!(seen, [Health::Down, Health::Up]);
}
