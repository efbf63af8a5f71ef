//! What reaches the server after its caller was told that it failed.

use std::time::Duration;

use tower_fred::{
    Redis,
    fred::{
        interfaces::ClientLike,
        types::{ClusterHash, CustomCommand},
    },
    rate_limit::{Quota, RateLimiter},
    session::SessionStore,
};

use crate::support::{
    Server,
    server::{namespace, until_served},
};

/// A stopped server has the commands in its sockets, and runs them when it goes on.
#[tokio::test]
async fn a_script_that_is_late_does_not_run() {
    let server = Server::start();
    let redis = Redis::builder()
        .namespace(namespace())
        .deadline(Duration::from_millis(100))
        .connect(&server.url())
        .await
        .expect("a handle");
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
    // There is no event to wait for: it is time itself that makes them late.
    tokio::time::sleep(3 * redis.deadline()).await;
    server.resume();

    // Redis answers at the end of the turn in which it read every socket that had something.
    until_served(&redis).await;
    assert_eq!(
        keys(&server).await,
        2,
        "something was made after its caller had given up"
    );
    let record = sessions.load(&cookie).await.expect("a read");
    assert!(
        record.is_some(),
        "a session ended although its logout had failed"
    );
    limiter.check("second").await.expect("scripts run again");
}

async fn keys(server: &Server) -> i64 {
    let admin = server.admin().await;
    let size = CustomCommand::new_static("DBSIZE", ClusterHash::Random, false);
    let size = admin
        .custom(size, Vec::<String>::new())
        .await
        .expect("a number");
    admin.quit().await.expect("a closed connection");
    size
}
