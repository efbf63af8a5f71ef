//! How old what a process knows of purges may be, and what that costs.

use std::time::{Duration, Instant};

use tower_fred::{Redis, fred::clients::Client};

use super::purge::{numbers, warm};
use crate::support::{Server, server::namespace, topology::run};

/// Two handles that stand for two processes.
async fn nodes(server: &Server, bound: Duration) -> (Redis, Redis) {
    let namespace = namespace();
    let connect = async || {
        let builder = Redis::builder().namespace(&namespace).coherence(bound);
        let builder = builder.deadline(Duration::from_millis(250));
        builder.connect(&server.url()).await.expect("a handle")
    };
    (connect().await, connect().await)
}

/// How often a command was run on the server.
async fn calls(admin: &Client, command: &str) -> u32 {
    let info: String = run(admin, "INFO", &["commandstats"]).await.expect("info");
    let stat = info.split_once(&format!("cmdstat_{command}:calls="));
    let number = stat.and_then(|(_, rest)| rest.split(',').next());
    number.map_or(0, |number| number.parse().expect("a number"))
}

/// A process that did nothing but hit read the log 50 times a second, whatever was asked of it.
#[tokio::test]
async fn a_longer_bound_makes_fewer_reads_of_the_log() {
    let server = Server::start();
    let admin = server.admin().await;
    let mut reads = Vec::new();
    for bound in [Duration::from_millis(50), SECOND] {
        let (here, _) = nodes(&server, bound).await;
        let near = numbers(&here);
        near.set(1, &1).await.expect("set");
        warm(&near, [1]).await;
        // Each read of the log is one of these.
        let before = calls(&admin, "xrange").await;
        let began = Instant::now();
        while began.elapsed() < 3 * SECOND {
            assert_eq!(near.get(1).await.expect("get"), Some(1));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        reads.push(calls(&admin, "xrange").await - before);
    }
    assert!(reads[0] > 20, "{reads:?}");
    assert!((2..=6).contains(&reads[1]), "{reads:?}");
}

/// The reads keep the promise without the connection that waits for purges; a process knows its own purges at once.
#[tokio::test]
async fn a_purge_is_known_within_the_bound_without_the_connection_that_waits() {
    let server = Server::start();
    let admin = server.admin().await;
    let _: String = run(&admin, "ACL", &["SETUSER", "default", "-xread"])
        .await
        .expect("a user with less");
    let (here, there) = nodes(&server, SECOND).await;
    let (near, far) = (numbers(&here), numbers(&there));
    for round in 0..4 {
        near.set(1, &1).await.expect("set");
        // The other process reads the log at another time in each round.
        while far.get(1).await.expect("get").is_none() {}
        warm(&far, [1]).await;
        warm(&near, [1]).await;
        tokio::time::sleep(Duration::from_millis(150 * round)).await;
        here.purge().tag("numbers").await.expect("purged");
        let purged = Instant::now();
        assert_eq!(near.get(1).await.expect("get"), None, "its own");
        let mut used = Duration::ZERO;
        loop {
            let began = purged.elapsed();
            if far.get(1).await.expect("get").is_none() {
                break;
            }
            used = began;
            tokio::task::yield_now().await;
        }
        assert!(used <= SECOND, "used {used:?} after the purge");
    }
}

/// While the log cannot be read, what is known gets too old, and nothing of this process is used.
#[tokio::test]
async fn what_is_known_is_not_used_for_longer_than_the_bound() {
    let server = Server::start();
    let (here, _) = nodes(&server, SECOND).await;
    let near = numbers(&here);
    near.set(1, &1).await.expect("set");
    warm(&near, [1]).await;
    server.kill();
    let killed = Instant::now();
    let mut used = Duration::ZERO;
    while killed.elapsed() < 3 * SECOND {
        let began = killed.elapsed();
        if near.get(1).await.is_ok_and(|value| value.is_some()) {
            used = began;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(used <= SECOND, "used {used:?} after the server was gone");
    assert!(used > SECOND / 20, "not used for {used:?}");
}

#[tokio::test]
async fn a_bound_that_cannot_be_kept_is_refused() {
    for bound in [Duration::ZERO, SECOND / 200, 61 * SECOND, Duration::MAX] {
        let builder = Redis::builder().coherence(bound).lazy();
        let error = builder.connect("redis://127.0.0.1:1").await;
        let error = error.expect_err("an error");
        assert!(error.is_config(), "{error}");
        assert!(error.to_string().contains("coherence"), "{error}");
    }
}

const SECOND: Duration = Duration::from_secs(1);
