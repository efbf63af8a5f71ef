//! Connections on which nothing happens.

use std::time::Duration;

use tower_fred::{
    Redis,
    fred::{
        clients::Client,
        interfaces::ClientLike,
        types::{ClusterHash, CustomCommand, InfoKind},
    },
    memo::Memo,
};

use crate::support::{
    Server, patiently,
    proxy::{Mode, Proxy},
    server::namespace,
};

/// A proxy's idle timeout closed the connection again and again, and commands that met the end of it failed.
#[tokio::test]
async fn a_heartbeat_keeps_a_connection_through_a_proxy_that_closes_idle_ones() {
    let server = Server::start();
    let admin = server.admin().await;
    let proxy = Proxy::start(server.port()).await;
    proxy.set(Mode::IdleTimeout(Duration::from_secs(1)));
    let redis = Redis::builder()
        .heartbeat(Duration::from_millis(100))
        .connect(&proxy.url())
        .await
        .expect("a handle");
    redis.ping().await.expect("a sign of life");
    let before = connections(&admin).await;
    // What is tested is time without work.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(connections(&admin).await, before);
    redis.ping().await.expect("a sign of life");
}

#[tokio::test]
async fn a_heartbeat_that_cannot_be_is_refused() {
    for heartbeat in [Duration::ZERO, Duration::from_secs(3601)] {
        let builder = Redis::builder().heartbeat(heartbeat);
        let error = builder.connect("redis://127.0.0.1:1").await;
        let error = error.expect_err("a setting");
        assert!(error.is_config(), "{error:?}");
    }
}

/// The connection that waits for purges stayed open when nobody used the cache, idle and for others to close.
#[tokio::test]
async fn the_connection_that_waits_for_purges_closes_when_nobody_needs_it() {
    let server = Server::start();
    let admin = server.admin().await;
    let redis = Redis::builder()
        .namespace(namespace())
        .connect(&server.url())
        .await
        .expect("a handle");
    let names = Memo::<String>::new(redis.clone(), "names", Duration::from_secs(60)).near(1 << 20);
    for _ in 0..2 {
        // It opens again for whoever comes later.
        patiently("a connection that waits", async {
            while clients(&admin).await < 3 {
                names.get_or_set(1, async || "one".to_owned()).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        patiently("its end", async {
            while clients(&admin).await > 2 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

async fn connections(admin: &Client) -> usize {
    let info: String = admin.info(Some(InfoKind::Stats)).await.expect("INFO");
    let mut lines = info.lines();
    let count = lines.find_map(|line| line.strip_prefix("total_connections_received:"));
    count.expect("a count").trim().parse().expect("a number")
}

async fn clients(admin: &Client) -> usize {
    let command = CustomCommand::new_static("CLIENT", ClusterHash::Random, false);
    let list: String = admin
        .custom(command, vec!["LIST", "TYPE", "normal"])
        .await
        .expect("CLIENT LIST");
    list.lines().count()
}
