//! TLS with a real server: valid, invalid and missing certificates.

use tower_fred::{Error, Redis, redis::RedisBuilder};

use crate::support::{
    server::{Server, namespace, until_served},
    tls::{Authority, TlsServer},
};

#[tokio::test]
async fn by_name_and_by_address() {
    let server = TlsServer::start();
    for host in ["localhost", "127.0.0.1"] {
        let redis = trusting(&server)
            .connect(&format!("rediss://{host}:{}", server.port))
            .await
            .expect("a handle");
        redis.ping().await.expect("a sign of life");
    }
}

#[tokio::test]
async fn several_authorities_in_one_text_are_all_trusted() {
    let server = TlsServer::start();
    let text = format!(
        "An old one:\n{}\nThe new one:\n{}",
        Authority::new().pem(),
        server.authority.pem()
    );
    let redis = Redis::builder().ca_certificate(text);
    redis.connect(&server.url()).await.expect("a handle");
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_is_a_config_error() {
    let server = TlsServer::start();
    let foreign = Redis::builder().ca_certificate(Authority::new().pem());
    // The platform's certificates do not include the CA of this test.
    for builder in [foreign, Redis::builder()] {
        let error = refused(builder, &server.url()).await;
        assert!(error.is_config(), "{error:?}");
        let port = server.port.to_string();
        for word in ["certificate", "ca_certificate", "over TLS", &port] {
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_a_config_error() {
    let server = TlsServer::start_with(&["redis.example"], &[]);
    let error = refused(trusting(&server), &server.url()).await;
    assert!(
        error.is_config() && error.to_string().contains("another name"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_asks_for_a_client_certificate_gets_one() {
    let server = strict();
    let ours = server.authority.sign(&["shop"]);
    let redis = trusting(&server)
        .client_certificate(&ours.certificate, &ours.key)
        .connect(&server.url())
        .await
        .expect("a handle");
    redis.ping().await.expect("a sign of life");

    let foreign = Authority::new().sign(&["shop"]);
    let foreign = trusting(&server).client_certificate(&foreign.certificate, &foreign.key);
    for builder in [trusting(&server), foreign] {
        let error = refused(builder, &server.url()).await;
        // If the server closes the connection before its reason is read, this is an unavailable error.
        assert!(error.is_config() || error.is_unavailable(), "{error:?}");
        assert!(error.to_string().contains("client_certificate"), "{error}");
    }
}

#[tokio::test]
async fn plain_text_to_a_tls_port_and_tls_to_a_plain_port_are_named() {
    let server = TlsServer::start();
    let plain_url = format!("redis://localhost:{}", server.port);
    let error = refused(Redis::builder(), &plain_url).await;
    assert!(
        error.is_unavailable() && error.to_string().contains("rediss://"),
        "{error:?}"
    );

    let tls_url = format!("rediss://localhost:{}", server.plain.port());
    let error = refused(trusting(&server), &tls_url).await;
    assert!(
        error.is_unavailable() && error.to_string().contains("plain text"),
        "{error:?}"
    );
}

#[tokio::test]
async fn pem_that_cannot_be_used_is_refused_by_field_before_connecting() {
    let authority = Authority::new();
    let (ours, other) = (authority.sign(&["shop"]), authority.sign(&["shop"]));
    let (certificate, key) = (ours.certificate.as_str(), ours.key.as_str());
    let broken = "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n";
    let not_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let unfinished = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    let ca = |pem: &str| Redis::builder().ca_certificate(pem);
    let client =
        |certificate: &str, key: &str| ca(&authority.pem()).client_certificate(certificate, key);
    let builders = [
        ("ca_certificate", ca("")),
        ("ca_certificate", ca("garbage")),
        ("ca_certificate", ca(key)),
        ("ca_certificate", ca(broken)),
        ("ca_certificate", ca(not_x509)),
        ("ca_certificate", ca(unfinished)),
        ("client_certificate", client("", key)),
        ("client_certificate", client(broken, key)),
        ("client_certificate", client(not_x509, key)),
        ("client_certificate", client(certificate, "")),
        ("client_certificate", client(certificate, "hunter2")),
        ("client_certificate", client(certificate, certificate)),
        ("client_certificate", client(certificate, &other.key)),
    ];
    for (at, (field, builder)) in builders.into_iter().enumerate() {
        let shown = format!("{builder:?}");
        // No server listens there: the settings are refused before connecting.
        let error = refused(builder, "rediss://localhost:1").await;
        assert!(
            error.is_config() && error.to_string().contains(field),
            "number {at}, {field}: {error:?}"
        );
        let shown = format!("{shown} {error} {error:?}");
        let secret = key.lines().nth(1).expect("a line of the key");
        assert!(
            !shown.contains(secret) && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}

/// An application that sets a CA expects encryption.
#[tokio::test]
async fn tls_settings_without_tls_are_refused() {
    let server = Server::shared();
    let authority = Authority::new();
    let ours = authority.sign(&["shop"]);
    let pool = server.pool().await;
    for (field, builder) in [
        (
            "ca_certificate",
            Redis::builder().ca_certificate(authority.pem()),
        ),
        (
            "client_certificate",
            Redis::builder().client_certificate(&ours.certificate, &ours.key),
        ),
    ] {
        for url in [server.url(), server.unix_url()] {
            let error = refused(builder.clone(), &url).await;
            assert!(
                error.is_config() && error.to_string().contains(field),
                "{error:?}"
            );
        }
        let error = builder.pool(&pool).expect_err("no TLS of ours");
        assert!(
            error.is_config() && error.to_string().contains(field),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_tls_server_that_was_killed_is_served_again() {
    let server = TlsServer::start();
    let redis = trusting(&server)
        .connect(&server.url())
        .await
        .expect("a handle");
    server.plain.kill();
    assert!(
        redis
            .ping()
            .await
            .expect_err("a dead server")
            .is_unavailable()
    );
    server.plain.restart();
    until_served(&redis).await;
}

fn strict() -> TlsServer {
    TlsServer::start_with(&["localhost"], &["--tls-auth-clients", "yes"])
}

fn trusting(server: &TlsServer) -> RedisBuilder {
    Redis::builder()
        .namespace(namespace())
        .ca_certificate(server.authority.pem())
}

async fn refused(builder: RedisBuilder, url: &str) -> Error {
    match builder.connect(url).await {
        Ok(redis) => panic!("connected: {redis:?}"),
        Err(error) => error,
    }
}
