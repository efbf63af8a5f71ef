//! Sessions that are read at the same time are read together, and each caller gets its own.

use std::time::Duration;

use futures_util::future::join_all;
use tower_fred::{
    Error, Redis,
    fred::types::Value,
    session::{Record, SessionStore, Token},
};

use crate::support::{
    Server,
    server::until_served,
    topology::{Cluster, run},
};

const COUNT: u64 = 64;

async fn patient(server: &Server) -> Redis {
    server
        .redis_with(|builder| builder.deadline(Duration::from_secs(5)))
        .await
}

/// A store, and the cookies of as many sessions, each with its number.
async fn filled(redis: &Redis) -> (SessionStore, Vec<String>) {
    let store = SessionStore::new(redis.clone());
    let mut cookies = Vec::new();
    for number in 0..COUNT {
        let fields = serde_json::json!({ "number": number });
        let token: Token = store.create(&fields).await.expect("a session");
        cookies.push(token.cookie_value());
    }
    (store, cookies)
}

async fn load_all(store: &SessionStore, cookies: &[String]) -> Vec<Result<Option<Record>, Error>> {
    join_all(cookies.iter().map(|cookie| store.load(cookie))).await
}

fn number(record: &Record) -> Option<u64> {
    record.get("number").expect("a number")
}

fn assert_all_found(found: Vec<Result<Option<Record>, Error>>) {
    for (expected, found) in (0..).zip(found) {
        let record = found.expect("an answer").expect("a session");
        assert_eq!(number(&record), Some(expected));
    }
}

#[tokio::test]
async fn sixty_four_sessions_at_once_are_at_most_four_commands() {
    let server = Server::start();
    let redis = patient(&server).await;
    let (store, cookies) = filled(&redis).await;
    assert_all_found(load_all(&store, &cookies).await);
    let (counts, found) = server.count(load_all(&store, &cookies)).await;
    assert_all_found(found);
    // The hashes that the script reads count as commands too.
    assert_eq!(counts.of("hgetall"), COUNT, "{counts:?}");
    assert!(counts.of("evalsha") <= 3, "{counts:?}");
    let others = counts.total() - counts.of("hgetall") - counts.of("evalsha");
    assert!(others <= counts.of("time"), "{counts:?}");
}

#[tokio::test]
async fn a_session_that_ended_or_is_damaged_spoils_no_other() {
    let server = Server::start();
    let redis = patient(&server).await;
    let (store, cookies) = filled(&redis).await;
    let admin = server.admin().await;
    assert!(store.destroy(&cookies[10]).await.expect("an answer"));
    let damaged = format!("{}:s:*", redis.namespace());
    let keys: Vec<String> = run(&admin, "KEYS", &[&damaged]).await.expect("keys");
    let _: Value = run(&admin, "SET", &[&keys[5], "a string"])
        .await
        .expect("set");
    // The secret of one session with the id of another.
    let mut foreign = cookies.clone();
    foreign[30] = format!("{}{}", &cookies[30][..22], &cookies[20][22..]);

    let (mut errors, mut missing) = (0, 0);
    for (expected, found) in (0..).zip(load_all(&store, &foreign).await) {
        match found {
            Ok(Some(record)) => assert_eq!(number(&record), Some(expected)),
            Ok(None) => missing += 1,
            Err(error) => {
                assert!(error.is_corrupt(), "{error}");
                errors += 1;
            }
        }
    }
    assert_eq!((errors, missing), (1, 2));
}

/// A script that may write waits while the server holds back writes; reads go on.
#[tokio::test]
async fn sessions_are_read_while_writes_are_held_back() {
    let server = Server::start();
    let redis = patient(&server).await;
    let (store, cookies) = filled(&redis).await;
    assert_all_found(load_all(&store, &cookies).await);
    let admin = server.admin().await;
    let _: Value = run(&admin, "CLIENT", &["PAUSE", "60000", "WRITE"])
        .await
        .expect("a pause");
    assert_all_found(load_all(&store, &cookies).await);
}

#[tokio::test]
async fn a_fault_is_each_one_s_error_and_afterwards_all_are_served() {
    let server = Server::start();
    let redis = server.redis().await;
    let (store, cookies) = filled(&redis).await;
    server.stop();
    for found in load_all(&store, &cookies).await {
        assert!(found.expect_err("no answer").is_timeout());
    }
    server.kill();
    server.restart();
    until_served(&redis).await;
    let (store, cookies) = filled(&redis).await;
    assert_all_found(load_all(&store, &cookies).await);
}

#[tokio::test]
async fn in_a_cluster_each_caller_gets_its_session() {
    let cluster = Cluster::start().await;
    let redis = cluster.redis().await;
    let (store, cookies) = filled(&redis).await;
    for _ in 0..3 {
        assert_all_found(load_all(&store, &cookies).await);
        for found in join_all((0..COUNT).map(|_| store.load(&cookies[7]))).await {
            let record = found.expect("an answer").expect("a session");
            assert_eq!(number(&record), Some(7));
        }
    }
}
