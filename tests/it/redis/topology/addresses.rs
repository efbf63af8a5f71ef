//! Where servers are, as URLs and other servers tell it.

use std::net::{Ipv6Addr, TcpListener};

use serde_json::json;
use tower_fred::{
    Error, Redis,
    fred::{interfaces::KeysInterface, types::Value},
    redis::RedisBuilder,
    session::SessionStore,
};

use crate::support::{
    log::Log,
    patiently,
    server::{Server, free_port, namespace},
    tls::{Authority, Files},
    topology::{Cluster, run},
};

#[tokio::test]
async fn an_ipv6_address_with_and_without_tls() {
    if !has_ipv6() {
        return;
    }
    let authority = Authority::new();
    let files = Files::of(&authority, &["::1"]);
    let port = free_port();
    let mut arguments = files.arguments(port);
    arguments.extend(["--bind", "127.0.0.1", "::1"].map(String::from));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = Server::start_with(&arguments);

    let plain = format!("redis://[::1]:{}/2", server.port());
    let redis = builder().connect(&plain).await.expect("a handle");
    keep_a_session(&redis).await.expect("a session");
    let secure = format!("rediss://[::1]:{port}");
    let trusting = builder().ca_certificate(authority.pem());
    let redis = trusting.connect(&secure).await.expect("a handle over TLS");
    keep_a_session(&redis).await.expect("a session");

    let closed = free_port();
    let error = refused(&format!("redis://[::1]:{closed}")).await;
    assert!(
        error.to_string().contains(&format!("[::1]:{closed}: ")),
        "{error}"
    );
}

#[tokio::test]
async fn a_cluster_on_ipv6_addresses() {
    if !has_ipv6() {
        return;
    }
    let words = ["--bind", "127.0.0.1", "::1", "--cluster-announce-ip", "::1"];
    let cluster = Cluster::start_with(|_| words.map(String::from).to_vec()).await;
    let (first, second) = (cluster.servers[0].port(), cluster.servers[1].port());
    for url in [
        format!("redis-cluster://[::1]:{first}"),
        format!("redis-cluster://[::1]:1?node=[::1]:{second}"),
    ] {
        let redis = builder().connect(&url).await.expect("a handle");
        keep_sessions(&redis).await;
    }
}

/// It was passed over, and database 0 was used.
#[tokio::test]
async fn the_database_of_a_unix_socket_is_selected() {
    let server = Server::start();
    let url = format!("{}?db=2", server.unix_url());
    let redis = builder().connect(&url).await.expect("a handle");
    keep_a_session(&redis).await.expect("a session");
    let count = async |database| {
        let keys: i64 = run(&server.admin_of(database).await, "DBSIZE", &[])
            .await
            .expect("a size");
        keys
    };
    assert!(count(2).await > 0);
    assert_eq!(count(0).await, 0);
}

/// A server that does not know AUTH quotes its arguments.
#[tokio::test]
async fn an_error_of_the_server_does_not_show_the_password() {
    let server = Server::start_with(&["--rename-command", "AUTH", ""]);
    let error = refused(&format!("redis://:hunter2@127.0.0.1:{}", server.port())).await;
    let mut shown = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(&error);
    while let Some(found) = cause {
        shown.push_str(&format!(" {found} {found:?}"));
        cause = found.source();
    }
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// Certificates are for names, and servers tell each other's addresses: nothing connected but by the seed.
#[tokio::test]
async fn a_tls_cluster_that_tells_addresses_is_verified_by_name() {
    for (what, names, announced, seed) in [
        (
            "the name in the metadata, which the URL has too",
            ["localhost", ""],
            "localhost",
            "localhost",
        ),
        (
            "the name in the URL only",
            ["localhost", ""],
            "",
            "localhost",
        ),
        (
            "the name in the metadata only",
            ["redis.example", "127.0.0.1"],
            "redis.example",
            "127.0.0.1",
        ),
        (
            "the address, whatever the metadata say",
            ["127.0.0.1", ""],
            "redis.example",
            "127.0.0.1",
        ),
    ] {
        let authority = Authority::new();
        let files = Files::of(&authority, &names[..1]);
        let seed_files = Files::of(&authority, &[seed]);
        let ports: Vec<u16> = (0..6).map(|_| free_port()).collect();
        let _cluster = Cluster::start_with(|index| {
            let files = if index < 3 { &files } else { &seed_files };
            let mut arguments = files.arguments(ports[index]);
            arguments
                .extend(["--tls-cluster", "yes", "--tls-replication", "yes"].map(String::from));
            if !announced.is_empty() {
                arguments.extend(["--cluster-announce-hostname", announced].map(String::from));
            }
            arguments
        })
        .await;
        let trusting = builder().ca_certificate(authority.pem());
        let url = format!("rediss-cluster://{seed}:{}", ports[3]);
        let redis = trusting.connect(&url).await;
        let redis = redis.unwrap_or_else(|error| panic!("{what}: {error}"));
        keep_sessions(&redis).await;
        if announced != "redis.example" {
            // fred connects to the names, which have to be known.
            let raw: Option<String> = redis.client().get("k").await.expect(what);
            assert_eq!(raw, None);
        }
    }
}

/// A foreign name is refused, also where another name of the server is known.
#[tokio::test]
async fn a_tls_cluster_with_certificates_for_another_name_is_refused() {
    let authority = Authority::new();
    let files = Files::of(&authority, &["other.example"]);
    let seed_files = Files::of(&authority, &["localhost"]);
    let ports: Vec<u16> = (0..6).map(|_| free_port()).collect();
    let _cluster = Cluster::start_with(|index| {
        let files = if index < 3 { &files } else { &seed_files };
        let mut arguments = files.arguments(ports[index]);
        arguments.extend(["--tls-cluster", "yes", "--tls-replication", "yes"].map(String::from));
        arguments.extend(["--cluster-announce-hostname", "redis.example"].map(String::from));
        arguments
    })
    .await;
    let trusting = builder().ca_certificate(authority.pem());
    let url = format!("rediss-cluster://localhost:{}", ports[3]);
    let error = trusting
        .connect(&url)
        .await
        .expect_err("no certificate fits");
    assert!(
        error.is_config() && error.to_string().contains("another name"),
        "{error}"
    );
}

/// Its host is empty in its own list of slots.
#[tokio::test]
async fn a_server_that_does_not_know_its_address_is_the_one_that_was_asked() {
    let (log, _guard) = Log::of_this_thread();
    let bus = free_port().to_string();
    let server = Server::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
    let admin = server.admin().await;
    let _: Value = run(&admin, "CLUSTER", &["ADDSLOTSRANGE", "0", "16383"])
        .await
        .expect("slots");
    patiently("a cluster", async {
        while !run::<String>(&admin, "CLUSTER", &["INFO"])
            .await
            .is_ok_and(|info| info.contains("cluster_state:ok"))
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let url = format!("redis-cluster://127.0.0.1:{}", server.port());
    let redis = builder().connect(&url).await.expect("a handle");
    keep_sessions(&redis).await;
    let warnings = log.lines(&["WARN", "does not know its own address"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

/// The first command after a failover was lost: the new primary was in no map yet.
#[tokio::test]
async fn moved_to_a_server_that_no_map_named_is_followed() {
    let cluster = Cluster::start().await;
    for (shard, endpoint) in ["ip", "unknown-endpoint", "hostname"]
        .into_iter()
        .enumerate()
    {
        cluster
            .config("cluster-preferred-endpoint-type", "ip")
            .await;
        let redis = builder().deadline(std::time::Duration::from_secs(2));
        let redis = redis.connect(&cluster.url()).await.expect("a handle");
        // From now on: `MOVED 1234 127.0.0.1:6380`, `MOVED 1234 :6380`, `MOVED 1234 ?:6380`.
        cluster
            .config("cluster-preferred-endpoint-type", endpoint)
            .await;
        cluster.cluster(shard + 3, &["FAILOVER"]).await;
        for (index, role) in [(shard + 3, "master"), (shard, "slave")] {
            let admin = cluster.admin(index);
            patiently("a failover", async {
                while !run::<String>(admin, "INFO", &["replication"])
                    .await
                    .is_ok_and(|info| info.contains(&format!("role:{role}")))
                {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        for number in 0..50 {
            let kept = keep_a_session(&redis).await;
            kept.unwrap_or_else(|error| panic!("{endpoint}, number {number}: {error:?}"));
        }
    }
}

fn builder() -> RedisBuilder {
    Redis::builder().namespace(namespace())
}

/// Enough of them that each of three servers has some.
async fn keep_sessions(redis: &Redis) {
    for _ in 0..30 {
        keep_a_session(redis).await.expect("a session");
    }
}

async fn keep_a_session(redis: &Redis) -> Result<(), Error> {
    let store = SessionStore::new(redis.clone());
    store.create(&json!({ "a": 1 })).await.map(drop)
}

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

async fn refused(url: &str) -> Error {
    match Redis::connect(url).await {
        Ok(redis) => panic!("connected: {redis:?}"),
        Err(error) => error,
    }
}
