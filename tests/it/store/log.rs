//! What happens when the purge log is flushed, trimmed, rolled back or written by others.

use std::time::Duration;

use tower_fred::{
    Redis,
    fred::{clients::Client, interfaces::KeysInterface, types::Value, util::redis_keyslot},
};

use super::{
    purge::{left, nodes, numbers, warm},
    until_log_is_read,
};
use crate::support::{
    Server,
    topology::{Cluster, run},
};

async fn records(admin: &Client, redis: &Redis) -> Vec<(String, Value)> {
    let key = format!("{}:purges", redis.namespace());
    run(admin, "XRANGE", &[&key, "-", "+"])
        .await
        .expect("XRANGE")
}

#[tokio::test]
async fn a_process_that_starts_later_knows_what_was_purged() {
    let server = Server::shared();
    let (here, there) = nodes(&server.url()).await;
    let near = numbers(&here);
    for number in 0..10 {
        near.set(number, &number).await.expect("set");
    }
    // A purge by a process that reads nothing, such as a command-line tool.
    there.purge().tag("parity:1").await.expect("purged");
    let late = numbers(&there);
    assert_eq!(left(&late).await, [0, 2, 4, 6, 8]);
}

#[tokio::test]
async fn what_is_older_than_what_is_left_of_the_log_is_not_used() {
    let server = Server::start();
    let (here, there) = nodes(&server.url()).await;
    let near = numbers(&here);
    assert!(left(&near).await.is_empty());
    near.set(1, &1).await.expect("set");
    for _ in 0..5 {
        here.purge().tag("another").await.expect("purged");
    }
    near.set(2, &2).await.expect("set");
    let admin = server.admin().await;
    let key = format!("{}:purges", here.namespace());
    let _: i64 = run(&admin, "XTRIM", &[&key, "MAXLEN", "2"])
        .await
        .expect("XTRIM");
    assert_eq!(left(&numbers(&there)).await, [2]);
    // A process that has read the log all the time knows more.
    assert_eq!(left(&near).await, [1, 2]);
}

#[tokio::test]
async fn when_redis_is_flushed_nothing_in_memory_is_used() {
    let server = Server::start();
    let (here, _) = nodes(&server.url()).await;
    let near = numbers(&here);
    near.set(1, &1).await.expect("set");
    warm(&near, [1]).await;
    let before = records(&server.admin().await, &here).await;
    let _: String = run(&server.admin().await, "FLUSHALL", &[])
        .await
        .expect("FLUSHALL");
    until_log_is_read().await;
    assert_eq!(near.get(1).await.expect("get"), None);
    let after = records(&server.admin().await, &here).await;
    assert_ne!(before[0].0, after[0].0, "another epoch");
    // The log goes on.
    near.set(1, &1).await.expect("set");
    warm(&near, [1]).await;
}

/// A failover may lose the last purges; the next ones get the same counts.
#[tokio::test]
async fn when_purges_are_lost_nothing_of_before_is_used() {
    let server = Server::start();
    let (here, there) = nodes(&server.url()).await;
    let near = numbers(&here);
    near.set(1, &1).await.expect("set");
    warm(&near, [1]).await;
    let admin = server.admin().await;
    let key = format!("{}:purges", here.namespace());
    let known = records(&admin, &here).await;
    // Other purges with the same ids.
    let transaction: Vec<String> = known
        .iter()
        .map(|(id, _)| {
            format!("redis.call('XADD', KEYS[1], '{id}', 'order', 'bfailover', 'at', 1)")
        })
        .collect();
    let script = format!(
        "redis.call('DEL', KEYS[1]) {} return 1",
        transaction.join(" ")
    );
    let _: i64 = run(&admin, "EVAL", &[&script, "1", &key])
        .await
        .expect("EVAL");
    until_log_is_read().await;
    assert_eq!(near.get(1).await.expect("get"), None);
    let far = numbers(&there);
    assert_eq!(far.get(1).await.expect("get"), None);
    near.set(1, &1).await.expect("set");
    assert_eq!(far.get(1).await.expect("get"), Some(1));
}

/// Regression: a purge that got the next count was taken as proof that no record was lost, so that a purge with the count
/// of a lost one was not noticed.
#[tokio::test]
async fn a_purge_of_ones_own_does_not_hide_that_others_were_lost() {
    let server = Server::start();
    let (here, there) = nodes(&server.url()).await;
    let near = numbers(&here);
    near.set(1, &1).await.expect("set");
    near.set(2, &2).await.expect("set");
    warm(&near, [1, 2]).await;
    let admin = server.admin().await;
    let key = format!("{}:purges", here.namespace());
    // The last record is lost, and its count is given to a purge of a tag by the other node.
    lose_last(&admin, &key).await;
    there.purge().tag("parity:1").await.expect("purged");
    here.purge().tag("another").await.expect("purged");
    assert_eq!(near.get(1).await.expect("get"), None);
}

/// Removes the last record, as a failover to a replica without it does. Servers differ in whether a stream may reuse an id,
/// so the stream is created again.
async fn lose_last(admin: &Client, key: &str) {
    let script = "
        local all = redis.call('XRANGE', KEYS[1], '-', '+')
        redis.call('DEL', KEYS[1])
        for i = 1, #all - 1 do
          redis.call('XADD', KEYS[1], all[i][1], unpack(all[i][2]))
        end
        redis.call('PEXPIRE', KEYS[1], 3600000)
        return #all";
    let all: i64 = run(admin, "EVAL", &[script, "1", key]).await.expect("EVAL");
    assert!(all > 1, "a record is left");
}

/// Regression: a process that had never seen the lost record took an entry that was made after it for newer than the purge
/// that got its count.
#[tokio::test]
async fn what_was_made_with_a_lost_purge_is_not_used_by_who_never_saw_it() {
    let cluster = Cluster::start().await;
    let server = Server::start();
    let admin = server.admin().await;
    for is_cluster in [false, true] {
        let url = if is_cluster {
            cluster.url_with("")
        } else {
            server.url()
        };
        // No, one or several records follow; the last ones name the entry that was made after the lost record, or do not.
        for tags in [
            &[][..],
            &["another"],
            &["parity:1"],
            &["another", "another", "parity:1"],
        ] {
            let (here, there) = nodes(&url).await;
            let key = format!("{}:purges", here.namespace());
            let admin = match is_cluster {
                true => cluster.admin(Cluster::owner(redis_keyslot(key.as_bytes()))),
                false => &admin,
            };
            let namespace = here.namespace().to_owned();
            let memo = numbers(&here);
            memo.set(2, &2).await.expect("set");
            memo.set(1, &1).await.expect("set");
            // A process that has seen the record would notice the loss, and begin a new epoch.
            drop((memo, here));
            lose_last(admin, &key).await;
            for tag in tags {
                there.purge().tag(tag).await.expect("purged");
            }
            let builder = Redis::builder().namespace(&namespace);
            let late = builder.deadline(Duration::from_secs(5)).connect(&url).await;
            let late = numbers(&late.expect("a handle"));
            for memo in [&numbers(&there), &late] {
                assert_eq!(
                    memo.get(1).await.expect("get"),
                    None,
                    "{tags:?} {is_cluster}"
                );
                assert_eq!(
                    memo.get(2).await.expect("get"),
                    Some(2),
                    "{tags:?} {is_cluster}"
                );
            }
            // The value is loaded anew, and stays.
            assert_eq!(late.get_or_set(1, async || 1).await, 1);
            while late.get(1).await.expect("get").is_none() {}
        }
    }
}

#[tokio::test]
async fn what_is_not_a_log_is_an_error_and_loads_go_on() {
    let server = Server::start();
    let (here, _) = nodes(&server.url()).await;
    let admin = server.admin().await;
    let key = format!("{}:purges", here.namespace());
    let _: () = admin
        .set(&key, "foreign", None, None, false)
        .await
        .expect("SET");
    let memo = numbers(&here);
    assert!(memo.get(1).await.is_err());
    assert!(here.purge().all().await.is_err());
    assert_eq!(memo.get_or_set(1, async || 1).await, 1);
    let _: () = admin.del(&key).await.expect("DEL");
    // Records of a newer version or of another program purge everything.
    memo.set(1, &1).await.expect("set");
    warm(&memo, [1]).await;
    let epoch = records(&admin, &here).await[0]
        .0
        .split('-')
        .next()
        .expect("an epoch")
        .to_owned();
    let id = format!("{epoch}-*");
    let _: String = run(&admin, "XADD", &[&key, &id, "something", "else"])
        .await
        .expect("XADD");
    until_log_is_read().await;
    assert_eq!(memo.get(1).await.expect("get"), None);
}
