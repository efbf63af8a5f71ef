//! The first connection to several servers, some of which are away: it works if one answers, and else the error names them.

use std::{net::Ipv4Addr, time::Duration};

use tokio::net::TcpListener;
use tower_fred::{Error, Redis, redis::Health};

use crate::support::{
    server::{Server, free_port, namespace},
    tls::{Authority, Files},
    topology::Cluster,
};

/// It failed three times of ten: any one primary was asked for its version, also the one that was away.
#[tokio::test]
async fn a_cluster_with_a_dead_primary_is_connected_to_every_time() {
    let cluster = Cluster::start().await;
    // Or all of them refuse after a while, and no replica takes over while this runs.
    cluster.config("cluster-require-full-coverage", "no").await;
    cluster.config("cluster-replica-no-failover", "yes").await;
    cluster.servers[1].kill();
    for round in 0..10 {
        let redis = Redis::builder()
            .namespace(namespace())
            .connect(&cluster.url())
            .await;
        let redis = redis.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_ne!(redis.health(), Health::Down, "round {round}");
    }
    // One that accepts and says nothing.
    cluster.servers[2].stop();
    let redis = Redis::builder().connect(&cluster.url()).await;
    redis.expect("one primary is there");
}

/// The error named the servers of the URL, among them the one that had answered.
#[tokio::test]
async fn the_error_names_the_primaries_that_do_not_answer_and_not_the_seed() {
    let cluster = Cluster::start().await;
    cluster.config("cluster-require-full-coverage", "no").await;
    cluster.config("cluster-replica-no-failover", "yes").await;
    for primary in &cluster.servers[..2] {
        primary.kill();
    }
    cluster.servers[2].stop();
    let seed = cluster.servers[3].port();
    let error = refused(&format!("redis-cluster://127.0.0.1:{seed}")).await;
    assert!(error.is_unavailable(), "{error:?}");
    let text = error.to_string();
    for (server, why) in [
        (0, "connection refused"),
        (1, "connection refused"),
        (2, "no answer"),
    ] {
        let named = format!("127.0.0.1:{}: {why}", cluster.servers[server].port());
        assert!(text.contains(&named), "{named}: {text}");
    }
    assert!(!text.contains(&seed.to_string()), "{text}");
}

#[tokio::test]
async fn the_error_names_each_seed_with_its_reason() {
    let alone = Server::start();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let silent = silent.local_addr().expect("an address").port();
    let (alone, closed) = (alone.port(), free_port());
    let error = refused(&format!(
        "redis-cluster://127.0.0.1:{alone}?node=127.0.0.1:{silent}&node=127.0.0.1:{closed}"
    ))
    .await;
    let text = error.to_string();
    for (port, why) in [
        (alone, "not in a cluster"),
        (silent, "no answer"),
        (closed, "connection refused"),
    ] {
        assert!(text.contains(&format!("127.0.0.1:{port}: ")), "{text}");
        assert!(text.contains(why), "{text}");
    }
    assert!(error.is_unavailable(), "{error:?}");

    let error = refused(&format!("redis-cluster://127.0.0.1:{alone}")).await;
    assert!(error.is_config(), "{error:?}");
    let error = refused(&format!("redis://127.0.0.1:{closed}")).await;
    assert!(error.to_string().contains("connection refused"), "{error}");
}

/// Several seeds that say nothing took the whole time of the start, and the one that lives was never asked.
#[tokio::test]
async fn silent_seeds_leave_time_for_the_one_that_answers() {
    let cluster = Cluster::start().await;
    let mut nodes = String::new();
    let mut silent = Vec::new();
    for _ in 0..8 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        nodes.push_str(&format!("node={address}&"));
        silent.push(listener);
    }
    let last = cluster.servers[0].port();
    let url = format!("redis-cluster://127.0.0.1:{last}?{nodes}");
    let builder = Redis::builder().connect_timeout(Duration::from_secs(4));
    builder.connect(&url).await.expect("a handle");
}

/// The reason was that of the seed, which was fine.
#[tokio::test]
async fn a_primary_whose_certificate_is_for_another_name_is_named() {
    let authority = Authority::new();
    let right = Files::of(&authority, &["127.0.0.1"]);
    let wrong = Files::of(&authority, &["redis.example"]);
    let ports: Vec<u16> = (0..6).map(|_| free_port()).collect();
    let _cluster = Cluster::start_with(|index| {
        let files = if index < 3 { &wrong } else { &right };
        let mut arguments = files.arguments(ports[index]);
        arguments.extend(["--tls-cluster", "yes", "--tls-replication", "yes"].map(String::from));
        arguments
    })
    .await;
    let seed = ports[3];
    let builder = Redis::builder().ca_certificate(authority.pem());
    let url = format!("rediss-cluster://127.0.0.1:{seed}");
    let connected = builder.connect(&url).await;
    let error = connected.expect_err("no primary");
    assert!(error.is_config(), "{error:?}");
    let text = error.to_string();
    for port in &ports[..3] {
        assert!(
            text.contains(&format!("127.0.0.1:{port} over TLS: ")),
            "{text}"
        );
    }
    assert!(
        text.contains("another name") && !text.contains(&seed.to_string()),
        "{text}"
    );
}

async fn refused(url: &str) -> Error {
    match Redis::connect(url).await {
        Ok(redis) => panic!("connected: {redis:?}"),
        Err(error) => error,
    }
}
