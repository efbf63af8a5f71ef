//! Commands that reach the server after they failed.

use std::time::Duration;

use tower_fred::{
    fred::interfaces::ClientLike,
    rate_limit::{Quota, RateLimiter},
    session::SessionStore,
};

use crate::support::{Server, command::run, server::until_served};

/// A stopped server keeps the commands in its socket buffers, and reads them when it continues.
#[tokio::test]
async fn a_script_that_is_late_does_not_run() {
    let server = Server::start();
    let deadline = Duration::from_millis(100);
    let redis = server
        .redis_with(|builder| builder.deadline(deadline))
        .await;
    let limiter = RateLimiter::new(redis.clone(), Quota::per_day(5));
    let sessions = SessionStore::new(redis.clone());
    limiter.check("first").await.expect("a decision");
    let kept = sessions
        .create(&serde_json::json!({ "a": 1 }))
        .await
        .expect("a session");
    let cookie = kept.cookie_value();
    assert_eq!(keys(&server).await, 2);

    server.stop();
    let (check, create, destroy) = tokio::join!(
        limiter.check("second"),
        async { sessions.create(&serde_json::json!({ "a": 2 })).await },
        sessions.destroy(&cookie),
    );
    for error in [check.err(), create.err(), destroy.err()] {
        assert!(error.expect("a stopped server").is_timeout());
    }
    // No event to wait for: only time makes the commands late.
    tokio::time::sleep(3 * redis.deadline()).await;
    server.resume();

    // Redis answers after it has read every socket with data, so the late commands were read before this answer.
    until_served(&redis).await;
    assert_eq!(keys(&server).await, 2, "a script ran after it had failed");
    let record = sessions.load(&cookie).await.expect("a read");
    assert!(
        record.is_some(),
        "a session was destroyed although that had failed"
    );
    limiter.check("second").await.expect("scripts run again");
}

async fn keys(server: &Server) -> i64 {
    let admin = server.admin().await;
    let size = run(&admin, "DBSIZE", &[]).await.expect("a number");
    admin.quit().await.expect("a closed connection");
    size
}
