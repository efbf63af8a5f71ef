//! The connection that waits for purges.

use tower_fred::{Redis, fred::clients::Client, memo::Memo};

use super::purge::{nodes, numbers, warm};
use crate::support::{
    Server, patiently,
    topology::{Cluster, run},
};

/// Waits until this many connections wait for records of a stream; gives their ids.
async fn listeners(admin: &Client, count: usize) -> Vec<String> {
    patiently("connections that listen", async {
        loop {
            let list: String = run(admin, "CLIENT", &["LIST"]).await.expect("a list");
            // `b` for blocked.
            let waiting = list
                .lines()
                .filter(|line| line.contains("cmd=xread") && line.contains("flags=b"));
            let id = |line: &str| line.split([' ', '=']).nth(1).map(str::to_owned);
            let ids: Vec<String> = waiting.filter_map(id).collect();
            if ids.len() == count {
                return ids;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn fill(far: &Memo<u64>) {
    far.set(1, &1).await.expect("set");
    warm(far, [1]).await;
}

/// Purges on one node, and waits until the other node does not use the value any more.
async fn purge(here: &Redis, far: &Memo<u64>) {
    here.purge().tag("numbers").await.expect("purged");
    patiently("what is purged to go", async {
        while far.get(1).await.expect("get").is_some() {}
    })
    .await;
}

/// The same, when a connection of the other node waits for purges.
async fn hears(admin: &Client, here: &Redis, far: &Memo<u64>) {
    fill(far).await;
    listeners(admin, 1).await;
    purge(here, far).await;
}

#[tokio::test]
async fn a_purge_ends_the_wait_for_it_and_the_next_one_is_waited_for() {
    let server = Server::start();
    let admin = server.admin().await;
    let (here, there) = nodes(&server.url()).await;
    let far = numbers(&there);
    for _ in 0..3 {
        hears(&admin, &here, &far).await;
    }
    listeners(&admin, 1).await;
    let info: String = run(&admin, "INFO", &["commandstats"]).await.expect("info");
    let calls = info
        .split_once("cmdstat_xread:calls=")
        .and_then(|(_, rest)| rest.split(',').next()?.parse::<u32>().ok());
    // One wait ended for each purge. The purges of `set` may be known before the next wait begins, and not all servers
    // count a wait that goes on.
    assert!(calls.is_some_and(|calls| calls >= 3), "{calls:?}");
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_misses_nothing() {
    let server = Server::start();
    let admin = server.admin().await;
    let (here, there) = nodes(&server.url()).await;
    let far = numbers(&there);
    fill(&far).await;
    let lost = listeners(&admin, 1).await;
    let _: i64 = run(&admin, "CLIENT", &["KILL", "ID", &lost[0]])
        .await
        .expect("killed");
    // Without the connection, the log is still read regularly.
    purge(&here, &far).await;
    patiently("another connection", async {
        tokio::select! {
            new = listeners(&admin, 1) => assert_ne!(new, lost),
            // A process that asks for nothing does not wait for purges.
            () = async { loop { let _ = far.get(1).await; } } => {}
        }
    })
    .await;
    hears(&admin, &here, &far).await;
}

#[tokio::test]
async fn it_closes_with_the_last_who_needs_it() {
    let server = Server::start();
    let admin = server.admin().await;
    let (here, there) = nodes(&server.url()).await;
    let far = numbers(&there);
    hears(&admin, &here, &far).await;
    listeners(&admin, 1).await;
    drop(far);
    listeners(&admin, 0).await;
    assert!(there.ping().await.is_ok());
}

#[tokio::test]
async fn a_user_that_may_not_wait_is_served_without() {
    let server = Server::start();
    let admin = server.admin().await;
    let _: String = run(&admin, "ACL", &["SETUSER", "default", "-xread"])
        .await
        .expect("a user with less");
    let (here, there) = nodes(&server.url()).await;
    let far = numbers(&there);
    fill(&far).await;
    purge(&here, &far).await;
}

#[tokio::test]
async fn in_a_cluster_it_is_to_the_server_that_has_the_log() {
    let cluster = Cluster::start().await;
    let (here, there) = nodes(&cluster.url_with("")).await;
    let key = format!("{}:purges", here.namespace());
    let slot = tower_fred::fred::util::redis_keyslot(key.as_bytes());
    let mut owner = None;
    for admin in cluster.primaries() {
        let slots: String = run(admin, "CLUSTER", &["NODES"]).await.expect("nodes");
        let own = slots.lines().find(|line| line.contains("myself"));
        let mut ranges = own.expect("itself").split(' ').skip(8);
        let has = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<u16>().expect("a slot");
            (number(first)..=number(last)).contains(&slot)
        };
        if ranges.any(has) {
            owner = Some(admin);
        }
    }
    let far = numbers(&there);
    hears(owner.expect("a server with the slot"), &here, &far).await;
}
