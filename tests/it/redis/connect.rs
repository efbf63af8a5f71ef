//! Valid and invalid URLs and settings: each error says what is wrong, and comes in bounded time.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tower_fred::{
    Error, Redis,
    fred::{clients::Client, interfaces::KeysInterface},
};

use crate::support::{Server, command::run, faults::relay::Relay, server::until_served, until};

#[tokio::test]
async fn by_url_with_password_and_database() {
    let server = Server::start_with(&["--requirepass", "s3cret/pass"]);
    let port = server.port();
    let redis = Redis::connect(&format!("redis://:s3cret%2Fpass@127.0.0.1:{port}/3"))
        .await
        .expect("a handle");
    let _: () = redis
        .client()
        .set("k", "v", None, None, false)
        .await
        .expect("set");

    let elsewhere = Redis::connect(&format!("redis://default:s3cret%2Fpass@127.0.0.1:{port}"))
        .await
        .expect("a handle");
    let absent: Option<String> = elsewhere.client().get("k").await.expect("get");
    assert_eq!(absent, None, "a value of database 3 is in database 0");
}

#[tokio::test]
async fn by_unix_socket() {
    let server = Server::shared();
    let redis = Redis::connect(&server.unix_url()).await.expect("a handle");
    redis.ping().await.expect("a sign of life");
}

#[tokio::test]
async fn with_a_pool_the_connections_are_used_in_turn() {
    let server = Server::start();
    let redis = server.redis_with(|builder| builder.pool_size(3)).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(id(&redis.client()).await);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[tokio::test]
async fn dropping_the_last_handle_closes_its_connection() {
    let server = Server::start();
    let admin = server.admin().await;
    let redis = server.redis().await;
    let id = id(&redis.client()).await.to_string();
    let listed = async || {
        let list = run::<String>(&admin, "CLIENT", &["LIST", "ID", &id]).await;
        !list.expect("a list").is_empty()
    };
    assert!(listed().await);
    drop(redis);
    until("a closed connection", async || !listed().await).await;
}

#[tokio::test]
async fn lazily_before_the_server_runs() {
    let server = Server::start();
    server.kill();
    let redis = Redis::builder()
        .lazy()
        .connect(&server.url())
        .await
        .expect("a handle");
    assert!(redis.ping().await.expect_err("no server").is_unavailable());
    server.restart();
    until_served(&redis).await;

    let error = refused(Redis::builder().lazy().connect("http://localhost").await);
    assert!(error.is_config(), "{error:?}");
}

#[tokio::test]
async fn an_invalid_url_names_what_is_wrong() {
    for (url, word) in [
        ("", "scheme"),
        ("localhost", "scheme"),
        ("http://localhost", "`http`"),
        ("redis://localhost:port", "port"),
        ("redis-sentinel://localhost:26379", "sentinel"),
    ] {
        let error = refused(Redis::connect(url).await);
        assert!(error.is_config(), "{url}: {error:?}");
        assert!(
            error.to_string().to_lowercase().contains(word),
            "{url}: {error}"
        );
    }
}

#[tokio::test]
async fn an_invalid_setting_is_named() {
    let server = Server::shared();
    let builders = [
        ("namespace", Redis::builder().namespace("")),
        ("namespace", Redis::builder().namespace("a{b}")),
        ("namespace", Redis::builder().namespace("a b")),
        ("namespace", Redis::builder().namespace("n".repeat(65))),
        ("namespace", Redis::builder().namespace("caf\u{e9}")),
        ("deadline", Redis::builder().deadline(Duration::ZERO)),
        (
            "deadline",
            Redis::builder().deadline(Duration::from_micros(999)),
        ),
        ("deadline", Redis::builder().deadline(Duration::MAX)),
        (
            "connect_timeout",
            Redis::builder().connect_timeout(Duration::ZERO),
        ),
        ("pool_size", Redis::builder().pool_size(0)),
        ("pool_size", Redis::builder().pool_size(1025)),
        ("max_in_flight", Redis::builder().max_in_flight(0)),
        ("max_in_flight", Redis::builder().max_in_flight(usize::MAX)),
    ];
    let pool = server.pool().await;
    for (field, builder) in builders {
        for ended in [
            builder.clone().connect(&server.url()).await,
            builder.clone().lazy().connect(&server.url()).await,
            builder.clone().pool(&pool),
            builder.client(pool.next().clone()),
        ] {
            let error = refused(ended);
            assert!(
                error.is_config() && error.to_string().contains(field),
                "{field}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_without_being_shown() {
    let server = Server::start_with(&["--requirepass", "right"]);
    let port = server.port();
    for url in [
        format!("redis://:hunter2@127.0.0.1:{port}"),
        format!("redis://nobody:hunter2@127.0.0.1:{port}"),
        format!("redis://127.0.0.1:{port}"),
    ] {
        let error = refused(Redis::connect(&url).await);
        assert!(error.is_auth(), "{error:?}");
        assert!(error.to_string().contains(&port.to_string()), "{error}");
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn no_server_is_an_error_that_names_the_address() {
    let server = Server::start();
    server.kill();
    let error = refused(Redis::connect(&server.url()).await);
    assert!(error.is_unavailable(), "{error:?}");
    assert!(
        error.to_string().contains(&server.port().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_given_up() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let url = format!("redis://{}", silent.local_addr().expect("an address"));
    let limit = Duration::from_millis(200);
    let error = refused(Redis::builder().connect_timeout(limit).connect(&url).await);
    assert!(error.is_unavailable(), "{error:?}");
}

#[tokio::test]
async fn a_server_too_old_is_refused() {
    let server = Server::shared();
    // No installable server is too old: this relay makes the versions begin with 5.
    let relay = Relay::start(server.port(), |client, server| async move {
        let (client_read, client_write) = client.into_split();
        let (server_read, server_write) = server.into_split();
        tokio::join!(
            age(client_read, server_write),
            age(server_read, client_write)
        );
    });
    let error = refused(Redis::connect(&relay.await.url()).await);
    assert!(error.is_unsupported(), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("5.") && text.contains("7.0"), "{text}");
}

fn refused(result: Result<Redis, Error>) -> Error {
    match result {
        Ok(redis) => panic!("connected: {redis:?}"),
        Err(error) => error,
    }
}

/// Passes bytes on, with another first digit of the versions.
async fn age(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let chunk = &mut buffer[..count];
        for field in [b"redis_version:".as_slice(), b"valkey_version:"] {
            if let Some(at) = chunk
                .windows(field.len())
                .position(|window| window == field)
            {
                chunk[at + field.len()] = b'5';
            }
        }
        if to.write_all(chunk).await.is_err() {
            return;
        }
    }
}

/// The id of the connection of `client`.
async fn id(client: &Client) -> i64 {
    run(client, "CLIENT", &["ID"]).await.expect("an id")
}
