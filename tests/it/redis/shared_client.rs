//! Clients and pools of the application.

use tower_fred::{
    Redis,
    fred::{
        clients::Client,
        interfaces::ClientLike,
        types::{
            Builder, InfoKind,
            config::{Config, ReconnectPolicy},
        },
    },
};

use crate::support::Server;

#[tokio::test]
async fn a_client_and_a_pool_are_shared_as_they_are() {
    let server = Server::start();
    let pool = server.pool().await;
    let before = connections(&server).await;

    let from_pool: Redis = pool.clone().into();
    let from_client = Redis::from(pool.next().clone());
    from_pool.ping().await.expect("a sign of life");
    from_client.ping().await.expect("a sign of life");
    let after = connections(&server).await;
    assert_eq!(after, before + 1, "sharing opened a connection");

    // The application's client still works after the handles are dropped.
    drop((from_pool, from_client));
    let _: () = pool.next().ping(None).await.expect("a sign of life");
}

#[tokio::test]
async fn a_client_that_would_lose_commands_is_refused_by_field() {
    let server = Server::shared();
    let forgetful = client(&server, |_| {});
    let error = Redis::builder()
        .client(forgetful)
        .expect_err("no reconnect policy");
    assert!(
        error.is_config() && error.to_string().contains("reconnect policy"),
        "{error}"
    );

    let clogged = client(&server, |builder| {
        builder.set_policy(ReconnectPolicy::default());
        builder.with_connection_config(|config| config.max_command_buffer_len = 100);
    });
    let error = Redis::builder()
        .client(clogged)
        .expect_err("a bounded buffer");
    assert!(
        error.to_string().contains("max_command_buffer_len"),
        "{error}"
    );

    let unwise = client(&server, |builder| {
        builder.set_policy(ReconnectPolicy::default());
    });
    Redis::builder()
        .client(unwise)
        .expect("a handle, with warnings");
}

#[tokio::test]
async fn a_client_that_never_connected_fails_at_once() {
    let server = Server::shared();
    let asleep = client(&server, |builder| {
        builder.set_policy(ReconnectPolicy::default());
    });
    let redis = Redis::builder().client(asleep).expect("a handle");
    assert!(
        redis
            .ping()
            .await
            .expect_err("not connected")
            .is_unavailable()
    );
}

fn client(server: &Server, configure: impl FnOnce(&mut Builder)) -> Client {
    let mut builder = Builder::from_config(Config::from_url(&server.url()).expect("a URL"));
    configure(&mut builder);
    builder.build().expect("a client")
}

/// How many connections the server has had since its start, with the one that asks.
async fn connections(server: &Server) -> i64 {
    let admin = server.admin().await;
    let info: String = admin.info(Some(InfoKind::Stats)).await.expect("info");
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:"));
    line.and_then(|count| count.trim().parse().ok())
        .expect("a number of connections")
}
