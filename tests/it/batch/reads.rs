//! Reads that are asked for at the same time leave together, and each caller gets what it would have got alone.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tower_fred::{
    Error, Redis,
    fred::{
        clients::Client,
        interfaces::{ClientLike, KeysInterface},
        types::{InfoKind, Value},
    },
    memo::Memo,
};

use crate::support::{
    Server,
    server::{handle_with, namespace, until_served},
    topology::{Cluster, run},
};

const COUNT: u64 = 64;

fn numbers(redis: &Redis) -> Memo<u64> {
    Memo::new(redis.clone(), "numbers", Duration::from_secs(600))
}

/// Stores as many numbers, and knows the purge log.
async fn filled(redis: &Redis) -> Memo<u64> {
    let memo = numbers(redis);
    for number in 0..COUNT {
        memo.set(number, &number).await.expect("set");
    }
    memo.get(0).await.expect("get");
    memo
}

async fn get_all(memo: &Memo<u64>) -> Vec<Result<Option<u64>, Error>> {
    join_all((0..COUNT).map(|number| memo.get(number))).await
}

fn assert_all_found(found: Vec<Result<Option<u64>, Error>>) {
    for (number, found) in (0..).zip(found) {
        assert_eq!(found.expect("an answer"), Some(number));
    }
}

async fn patient(server: &Server) -> Redis {
    server
        .redis_with(|builder| builder.deadline(Duration::from_secs(5)))
        .await
}

/// How often the server read from its connections.
async fn reads_of(admin: &Client) -> u64 {
    let info: String = admin.info(Some(InfoKind::Stats)).await.expect("info");
    let line = "total_reads_processed:";
    let line = info.lines().find_map(|found| found.strip_prefix(line));
    line.expect("a count").parse().expect("a number")
}

#[tokio::test]
async fn sixty_four_reads_at_once_are_at_most_four_commands_and_writes() {
    let server = Server::start();
    let redis = patient(&server).await;
    let memo = filled(&redis).await;
    let admin = server.admin().await;
    let (counts, writes) = server
        .count(async {
            let before = reads_of(&admin).await;
            let tasks = (0..COUNT).map(|number| {
                let memo = memo.clone();
                tokio::spawn(async move { memo.get(number).await })
            });
            let tasks: Vec<_> = tasks.collect();
            for (number, task) in (0..).zip(tasks) {
                let found = task.await.expect("no panic").expect("an answer");
                assert_eq!(found, Some(number));
            }
            // Of these, one is the question itself.
            reads_of(&admin).await - before - 1
        })
        .await;
    let commands = counts.of("get") + counts.of("mget");
    assert!(commands <= 4, "{counts:?}");
    assert!(writes <= 4, "{writes} writes, {counts:?}");
}

#[tokio::test]
async fn the_same_key_is_asked_for_once() {
    let server = Server::start();
    let redis = patient(&server).await;
    let memo = filled(&redis).await;
    let (counts, found) = server
        .count(join_all((0..COUNT).map(|_| memo.get(7))))
        .await;
    assert!(found.into_iter().all(|found| matches!(found, Ok(Some(7)))));
    assert_eq!((counts.of("get"), counts.of("mget")), (1, 1), "{counts:?}");
    // Each of both commands finds it once; the purge log may be read meanwhile.
    let hits = keyspace_hits(&server, || memo.get(7)).await;
    assert!((2..10).contains(&hits), "{hits}");
}

/// How many keys were found by as many concurrent calls.
async fn keyspace_hits<F>(server: &Server, call: impl Fn() -> F) -> u64
where
    F: Future<Output = Result<Option<u64>, Error>>,
{
    let admin = server.admin().await;
    let hits = async || {
        let info: String = admin.info(Some(InfoKind::Stats)).await.expect("info");
        let line = "keyspace_hits:";
        let line = info.lines().find_map(|found| found.strip_prefix(line));
        line.expect("a count").parse::<u64>().expect("a number")
    };
    let before = hits().await;
    join_all((0..COUNT).map(|_| call())).await;
    hits().await - before
}

/// `MGET` gives nothing for a value of another type, where `GET` gives an error.
#[tokio::test]
async fn a_key_of_another_type_spoils_no_other_and_is_replaced_as_before() {
    let server = Server::start();
    let redis = patient(&server).await;
    let memo = filled(&redis).await;
    let admin = server.admin().await;
    let keys = keys_of(&admin, &redis, "m").await;
    let _: Value = run(&admin, "DEL", &[&keys[0]]).await.expect("deleted");
    let _: Value = run(&admin, "HSET", &[&keys[0], "a", "b"])
        .await
        .expect("set");

    let found = get_all(&memo).await;
    let missing: Vec<u64> = (0..)
        .zip(found)
        .filter(|(number, found)| match found.as_ref().expect("no error") {
            Some(found) => found != number,
            None => true,
        })
        .map(|(number, _)| number)
        .collect();
    assert_eq!(missing.len(), 1, "{missing:?}");

    let loaded = (0..COUNT).map(|number| memo.get_or_set(number, async move || number));
    assert!(join_all(loaded).await.into_iter().eq(0..COUNT));
    crate::support::until("the value to be replaced", async || {
        let found: String = run(&admin, "TYPE", &[&keys[0]]).await.expect("a type");
        found == "string"
    })
    .await;
}

async fn keys_of(admin: &Client, redis: &Redis, kind: &str) -> Vec<String> {
    let pattern = format!("{}:{kind}:*", redis.namespace());
    run(admin, "KEYS", &[&pattern]).await.expect("keys")
}

#[tokio::test]
async fn missing_keys_are_missing_and_take_one_more_command() {
    let server = Server::start();
    let redis = patient(&server).await;
    let memo = filled(&redis).await;
    let all = (0..2 * COUNT).map(|number| memo.get(number));
    let (counts, found) = server.count(join_all(all)).await;
    for (number, found) in (0..).zip(found) {
        let expected = (number < COUNT).then_some(number);
        assert_eq!(found.expect("an answer"), expected);
    }
    let commands = counts.of("get") + counts.of("mget") + counts.of("exists");
    assert!(commands <= 4, "{counts:?}");
}

#[tokio::test]
async fn a_user_that_may_not_run_mget_reads_one_by_one() {
    let server = Server::start();
    let admin = server.admin().await;
    let rules = [
        "SETUSER", "reader", "on", ">secret", "~*", "&*", "+@all", "-mget",
    ];
    let _: Value = run(&admin, "ACL", &rules).await.expect("a user");
    let url = server.url().replace("://", "://reader:secret@");
    let redis = handle_with(&url, |builder| builder.deadline(Duration::from_secs(5))).await;
    let memo = filled(&redis).await;
    for _ in 0..3 {
        assert_all_found(get_all(&memo).await);
    }
    let log: Vec<Value> = run(&admin, "ACL", &["LOG"]).await.expect("a log");
    assert_eq!(log.len(), 1, "one attempt: {log:?}");
}

#[tokio::test]
async fn a_fault_is_each_one_s_error_in_time_and_afterwards_all_are_served() {
    let server = Server::start();
    let redis = patient(&server).await;
    let memo = filled(&redis).await;
    let hasty = Memo::<u64>::new(
        redis
            .with_deadline(Duration::from_millis(200))
            .expect("a deadline"),
        "numbers",
        Duration::from_secs(600),
    );
    server.stop();
    let begin = Instant::now();
    let (slow, fast) = tokio::join!(
        async {
            let found = get_all(&memo).await;
            (found, begin.elapsed())
        },
        async {
            let found = get_all(&hasty).await;
            let time = begin.elapsed();
            server.resume();
            (found, time)
        }
    );
    let (found, time) = fast;
    assert!(time < Duration::from_secs(2), "its own deadline: {time:?}");
    for found in found {
        assert!(found.expect_err("no answer").is_timeout());
    }
    assert!(slow.1 < Duration::from_secs(5), "{:?}", slow.1);
    assert_all_found(slow.0);

    server.stop();
    let killed = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        server.kill();
    };
    let (found, ()) = tokio::join!(get_all(&memo), killed);
    for found in found {
        assert!(found.expect_err("no answer").is_unavailable());
    }
    server.restart();
    until_served(&redis).await;
    let memo = filled(&redis).await;
    assert_all_found(get_all(&memo).await);
}

#[tokio::test]
async fn callers_that_are_gone_strand_nobody() {
    let server = Server::start();
    let redis = patient(&server).await;
    let memo = filled(&redis).await;
    server.stop();
    let tasks = (0..COUNT).map(|number| {
        let memo = memo.clone();
        tokio::spawn(async move { memo.get(number).await })
    });
    let tasks: Vec<_> = tasks.collect();
    tokio::task::yield_now().await;
    // The first two are the one on its way and the one that sends the others.
    for task in tasks.iter().take(2).chain(tasks.iter().skip(10).step_by(3)) {
        task.abort();
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    server.resume();
    for (number, task) in (0..).zip(tasks) {
        match task.await {
            Ok(found) => assert_eq!(found.expect("an answer"), Some(number)),
            Err(gone) => assert!(gone.is_cancelled()),
        }
    }
}

#[tokio::test]
async fn a_pool_of_the_application_and_a_cluster_give_each_caller_its_value() {
    let server = Server::start();
    let cluster = Cluster::start().await;
    let client = cluster.application_client().await;
    let shared = Redis::builder().namespace(namespace()).client(client);
    let handles = [
        server.pooled().await,
        cluster.redis().await,
        shared.expect("a handle"),
    ];
    for redis in handles {
        let memo = filled(&redis).await;
        for _ in 0..3 {
            assert_all_found(get_all(&memo).await);
            for found in join_all((0..COUNT).map(|_| memo.get(7))).await {
                assert_eq!(found.expect("an answer"), Some(7));
            }
        }
    }
}

#[tokio::test]
async fn a_value_that_is_known_to_be_large_is_read_alone() {
    let server = Server::start();
    let redis = patient(&server).await;
    let memo: Memo<String> = Memo::new(redis.clone(), "texts", Duration::from_secs(600));
    let large = "x".repeat(100_000);
    for number in 0..4 {
        memo.set(number, &large).await.expect("set");
        memo.set(number + 4, &"small".to_owned())
            .await
            .expect("set");
    }
    let (counts, found) = server
        .count(join_all((0..8).map(|number| memo.get(number))))
        .await;
    assert!(found.iter().all(|found| matches!(found, Ok(Some(_)))));
    // The large ones, one of the others, and the rest together.
    assert_eq!((counts.of("get"), counts.of("mget")), (5, 1), "{counts:?}");
    let _: u64 = server
        .admin()
        .await
        .exists("nothing")
        .await
        .expect("a count");
}
