//! All layers on every kind of deployment.

use tower_fred::{fred::interfaces::KeysInterface, session::SessionStore};

use crate::{
    compose,
    support::{
        Server,
        keys::{assert_none, assert_ours_and_bounded},
        server::{free_port, handle, handle_with, until_served},
        tls::{Authority, Files, TlsServer},
        topology::{Cluster, Sentinels},
        until,
    },
};

#[tokio::test]
async fn all_layers_over_a_unix_socket() {
    let server = Server::start();
    let redis = handle(&server.unix_url()).await;
    compose::check_all_three(&redis, "a unix socket").await;
    assert_ours_and_bounded(&[server.admin().await], redis.namespace()).await;
}

#[tokio::test]
async fn all_layers_in_a_database_with_a_number() {
    let server = Server::start();
    let redis = handle(&format!("{}/3", server.url())).await;
    compose::check_all_three(&redis, "a database").await;
    assert_ours_and_bounded(&[server.admin_of(3).await], redis.namespace()).await;
    assert_none(&server.admin().await).await;
}

#[tokio::test]
async fn all_layers_over_tls() {
    let server = TlsServer::start_with(&["localhost"], &["--tls-auth-clients", "yes"]);
    let ours = server.authority.sign(&["shop"]);
    let redis = handle_with(&server.url(), |builder| {
        let builder = builder.ca_certificate(server.authority.pem());
        builder.client_certificate(&ours.certificate, &ours.key)
    })
    .await;
    compose::check_all_three(&redis, "TLS").await;
    assert_ours_and_bounded(&[server.plain.admin().await], redis.namespace()).await;
}

#[tokio::test]
async fn all_layers_over_a_cluster_with_tls() {
    let authority = Authority::new();
    let files = Files::of(&authority, &["127.0.0.1"]);
    let ports: Vec<u16> = (0..6).map(|_| free_port()).collect();
    let cluster = Cluster::start_with(|index| {
        let mut arguments = files.arguments(ports[index]);
        // The servers then tell their TLS ports, to clients and to each other.
        arguments.extend(["--tls-cluster", "yes", "--tls-replication", "yes"].map(String::from));
        arguments
    })
    .await;
    let url = format!("rediss-cluster://127.0.0.1:{}", ports[0]);
    let redis = handle_with(&url, |builder| builder.ca_certificate(authority.pem())).await;
    compose::check_all_three(&redis, "a cluster with TLS").await;
    assert_ours_and_bounded(cluster.primaries(), redis.namespace()).await;
}

#[tokio::test]
async fn all_layers_over_sentinels() {
    let sentinels = Sentinels::start().await;
    let redis = sentinels.redis().await;
    compose::check_all_three(&redis, "sentinels").await;
    let primary = sentinels.primary_server().await.admin().await;
    assert_ours_and_bounded(&[primary], redis.namespace()).await;
}

#[tokio::test]
async fn all_layers_over_a_sentinel_with_tls() {
    let server = TlsServer::start_with(&["127.0.0.1"], &[]);
    let files = Files::of(&server.authority, &["127.0.0.1"]);
    let port = free_port();
    let mut configuration = format!(
        "sentinel monitor main 127.0.0.1 {} 1\ntls-replication yes\n",
        server.port
    );
    for words in files.arguments(port).chunks(2) {
        let line = words.join(" ");
        configuration.push_str(line.trim_start_matches('-'));
        configuration.push('\n');
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), configuration).expect("a configuration");
    let _sentinel = Server::start_sentinel(file.path());
    let url = format!("rediss-sentinel://127.0.0.1:{port}?sentinelServiceName=main");
    let ca = server.authority.pem();
    let redis = handle_with(&url, |builder| builder.ca_certificate(ca)).await;
    compose::check_all_three(&redis, "a sentinel with TLS").await;
    assert_ours_and_bounded(&[server.plain.admin().await], redis.namespace()).await;
}

#[tokio::test]
async fn all_layers_over_sentinels_in_a_database_with_a_number() {
    let sentinels = Sentinels::start().await;
    let redis = handle(&sentinels.url_with("", "/3")).await;
    until_served(&redis).await;
    compose::check_all_three(&redis, "a database behind sentinels").await;
    let primary = sentinels.primary_server().await;
    assert_ours_and_bounded(&[primary.admin_of(3).await], redis.namespace()).await;
    assert_none(&primary.admin().await).await;
}

/// After a planned failover the old primary still answers for about ten seconds, and what is written to it is lost.
#[tokio::test]
async fn a_planned_failover_is_followed_at_once() {
    let sentinels = Sentinels::start().await;
    let redis = sentinels.redis().await;
    let old = sentinels.primary().await;
    sentinels.fail_over().await;
    // The sentinels may take their time, the handle may not.
    until("another primary", async || sentinels.primary().await != old).await;
    let server = sentinels
        .servers
        .iter()
        .find(|server| server.port() == old)
        .expect("the old primary");
    let admin = server.admin().await;
    let mut lost_writes = 0;
    loop {
        let store = SessionStore::new(redis.clone());
        if let Ok(token) = store.create(&serde_json::json!({ "a": 1 })).await {
            let key = format!("{}:s:{{{}}}", redis.namespace(), token.id());
            if admin.exists::<bool, _>(key).await.unwrap_or(false) {
                lost_writes += 1;
            } else {
                break;
            }
        }
        assert!(lost_writes < 10_000, "still writing to the old primary");
        tokio::task::yield_now().await;
    }
    let primary = sentinels.primary_server().await.admin().await;
    assert_ours_and_bounded(&[primary], redis.namespace()).await;
}

#[tokio::test]
async fn all_layers_over_a_cluster() {
    let cluster = Cluster::start().await;
    let redis = cluster.redis().await;
    compose::check_all_three(&redis, "a cluster").await;
    assert_ours_and_bounded(cluster.primaries(), redis.namespace()).await;
}
