//! Demoted primaries, and replicas without a primary: their purge log may be old.

use tower_fred::fred::{clients::Client, types::Value};

use super::{
    purge::{nodes, numbers, warm},
    until_log_is_read,
};
use crate::support::{
    Server, patiently,
    server::until_served,
    topology::{Cluster, replicated, run},
};

async fn info(admin: &Client) -> String {
    run(admin, "INFO", &["replication"]).await.expect("info")
}

async fn tell(server: &Server, command: &'static str, arguments: &[&str]) {
    let admin = server.admin().await;
    let _: Value = run(&admin, command, arguments).await.expect(command);
}

/// Regression: the log of a demoted primary that was cut off from the new one was still read, and what was purged on the
/// new one was still used.
#[tokio::test]
async fn a_demoted_primary_that_is_cut_off_is_not_believed() {
    let (old, new) = replicated().await;
    let (here, there) = (old.redis().await, old.redis().await);
    let (near, far) = (numbers(&here), numbers(&there));
    near.set(1, &1).await.expect("set");
    warm(&near, [1]).await;
    far.set(1, &1).await.expect("set");

    tell(&new, "REPLICAOF", &["NO", "ONE"]).await;
    let nobody = crate::support::server::free_port().to_string();
    tell(&old, "REPLICAOF", &["127.0.0.1", &nobody]).await;
    until_log_is_read().await;
    // Neither from the near tier nor from Redis.
    for memo in [&near, &far] {
        for _ in 0..20 {
            assert!(memo.get(1).await.is_err());
        }
        assert_eq!(memo.get_or_set(1, async || 2).await, 2);
    }
    // When it is a primary again, its entries are used again.
    tell(&old, "REPLICAOF", &["NO", "ONE"]).await;
    patiently("a primary", async {
        while near.get(1).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    near.set(1, &3).await.expect("set");
    assert_eq!(near.get(1).await.expect("get"), Some(3));
}

/// A primary that lost its replicas may have been replaced by one of them. With `min-replicas-to-write` it refuses then.
#[tokio::test]
async fn a_primary_without_the_replicas_that_it_needs_is_not_believed() {
    let (primary, replica) = replicated().await;
    let redis = primary.redis().await;
    let memo = numbers(&redis);
    memo.set(1, &1).await.expect("set");
    warm(&memo, [1]).await;
    tell(&primary, "CONFIG", &["SET", "min-replicas-to-write", "1"]).await;
    warm(&memo, [1]).await;
    replica.kill();
    patiently("a primary that notices", async {
        while memo.get(1).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(redis.purge().tag("numbers").await.is_err());
    assert_eq!(memo.get_or_set(1, async || 2).await, 2);
    tell(&primary, "CONFIG", &["SET", "min-replicas-to-write", "0"]).await;
    patiently("a primary", async {
        while memo.get(1).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A primary that is full or cannot save its data still knows all purges that it accepted.
#[tokio::test]
async fn a_primary_that_takes_no_data_is_believed() {
    let server = Server::start();
    let redis = server.redis().await;
    let memo = numbers(&redis);
    memo.set(1, &1).await.expect("set");
    warm(&memo, [1]).await;
    tell(&server, "CONFIG", &["SET", "maxmemory", "1"]).await;
    until_log_is_read().await;
    warm(&memo, [1]).await;
    tell(&server, "CONFIG", &["SET", "maxmemory", "0"]).await;

    let admin = server.admin().await;
    // The data cannot be saved into a file that is a directory.
    tell(&server, "CONFIG", &["SET", "save", "3600 1"]).await;
    let directory: Vec<String> = run(&admin, "CONFIG", &["GET", "dir"])
        .await
        .expect("a path");
    let file = std::path::Path::new(&directory[1]).join("dump.rdb");
    std::fs::create_dir(&file).expect("a directory");
    std::fs::write(file.join("in the way"), "").expect("a file");
    let _: Value = run(&admin, "BGSAVE", &[]).await.expect("BGSAVE");
    patiently("a server that cannot save", async {
        loop {
            let set = run::<Value>(&admin, "SET", &["other", "1"]).await;
            if set.is_err_and(|error| error.details().starts_with("MISCONF")) {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    until_log_is_read().await;
    for _ in 0..3 {
        assert_eq!(memo.get(1).await.expect("get"), Some(1));
    }
}

/// In a cluster the demoted primary redirects its clients, and purges on the new one are known.
#[tokio::test]
async fn after_a_failover_of_the_log_a_purge_is_known_to_all() {
    let cluster = Cluster::start().await;
    let (here, there) = nodes(&cluster.url_with("")).await;
    let (near, far) = (numbers(&here), numbers(&there));
    near.set(1, &1).await.expect("set");
    near.set(2, &2).await.expect("set");
    warm(&near, [1, 2]).await;
    assert_eq!(far.get(1).await.expect("get"), Some(1));
    let key = format!("{}:purges", here.namespace());
    let owner = Cluster::owner(tower_fred::fred::util::redis_keyslot(key.as_bytes()));
    cluster.cluster(owner + 3, &["FAILOVER"]).await;
    patiently("another primary", async {
        while !info(cluster.admin(owner + 3)).await.contains("role:master") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    until_served(&there).await;
    patiently("a purge", async {
        while there.purge().tag("parity:1").await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    until_log_is_read().await;
    for _ in 0..20 {
        assert!(!matches!(near.get(1).await, Ok(Some(_))));
    }
    patiently("what was not purged", async {
        while !matches!(near.get(2).await, Ok(Some(2))) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
