//! Replies that reach the caller of another command: none is taken for the right one.

use std::time::Duration;

use tower_fred::{
    Redis,
    memo::Memo,
    rate_limit::{Quota, RateLimiter},
    session::SessionStore,
};

use crate::support::{
    Server,
    crossing::Crossing,
    patiently,
    server::{handle_with, until_served},
};

/// Two connections that are used in turn, so that two concurrent commands go over different ones.
async fn two_connections() -> (Server, Crossing, Redis) {
    let server = Server::start();
    let proxy = Crossing::start(server.port()).await;
    let redis = handle_with(&proxy.url(), |builder| builder.pool_size(2)).await;
    (server, proxy, redis)
}

/// Regression: both connections kept giving replies to other commands, and no value was found any more.
#[tokio::test]
async fn no_value_is_that_of_another_key_and_values_are_found_again() {
    let (_server, proxy, redis) = two_connections().await;
    let values: Memo<String> = Memo::new(redis.clone(), "values", Duration::from_secs(60));
    values.set("a", &"of a".into()).await.expect("a value");
    values.set("b", &"of b".into()).await.expect("a value");

    proxy.cross(true);
    let (a, b) = tokio::join!(values.get("a"), values.get("b"));
    for (found, own) in [(&a, "of a"), (&b, "of b")] {
        assert!(
            !matches!(found, Ok(Some(value)) if value != own),
            "{found:?}"
        );
    }
    assert!(
        !matches!((a, b), (Ok(Some(_)), Ok(Some(_)))),
        "the replies were not crossed"
    );

    proxy.cross(false);
    until_served(&redis).await;
    // The values from before may count as purged: a read of the purge log may have been crossed too.
    patiently("values that are found again", found_again(&values)).await;
}

/// Stores both values until both are found.
async fn found_again(values: &Memo<String>) {
    loop {
        for name in ["a", "b"] {
            // An error: a connection whose replies are crossed is closed.
            while values.set(name, &format!("of {name}")).await.is_err() {}
        }
        let (a, b) = tokio::join!(values.get("a"), values.get("b"));
        if let (Ok(Some(a)), Ok(Some(b))) = (a, b) {
            assert_eq!((a.as_str(), b.as_str()), ("of a", "of b"));
            return;
        }
    }
}

#[tokio::test]
async fn no_limit_is_that_of_another_subject() {
    let (_server, proxy, redis) = two_connections().await;
    let limiter = RateLimiter::new(redis, Quota::per_day(1));
    limiter.check("spent").await.expect("the only one");
    proxy.cross(true);
    // Otherwise the denial would reach the subject that has a permit left.
    let (spent, fresh) = tokio::join!(limiter.check("spent"), limiter.check("fresh"));
    for error in [spent.err(), fresh.err()] {
        assert!(error.expect("a crossed reply").is_unavailable());
    }
}

#[tokio::test]
async fn no_session_is_that_of_another_visitor() {
    let (_server, proxy, redis) = two_connections().await;
    let sessions = SessionStore::new(redis);
    let mut cookies = Vec::new();
    for user in ["alice", "bob"] {
        let token = sessions.create_for(user, &serde_json::json!({})).await;
        cookies.push(token.expect("a session").cookie_value());
    }
    proxy.cross(true);
    let (a, b) = tokio::join!(sessions.load(&cookies[0]), sessions.load(&cookies[1]));
    let mut own = 0;
    for (loaded, user) in [(a, "alice"), (b, "bob")] {
        if let Ok(Some(record)) = loaded {
            assert_eq!(record.user(), Some(user));
            own += 1;
        }
    }
    assert!(own < 2, "the replies were not crossed");
}
