//! Replies that reach the caller of another command.

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
    server::{namespace, until_served},
};

#[tokio::test]
async fn a_reply_to_somebody_else_is_never_believed() {
    let server = Server::start();
    let proxy = Crossing::start(server.port()).await;
    let redis = Redis::builder()
        .namespace(namespace())
        .pool_size(2)
        .connect(&proxy.url())
        .await
        .expect("a handle");
    let values: Memo<String> = Memo::new(redis.clone(), "values", Duration::from_secs(60));
    values.set("a", &"of a".into()).await.expect("a value");
    values.set("b", &"of b".into()).await.expect("a value");
    let sessions = SessionStore::new(redis.clone());
    let alice = sessions
        .create_for("alice", &serde_json::json!({}))
        .await
        .expect("a session")
        .cookie_value();
    let bob = sessions
        .create_for("bob", &serde_json::json!({}))
        .await
        .expect("a session")
        .cookie_value();
    let limiter = RateLimiter::new(redis.clone(), Quota::per_day(1));
    limiter.check("spent").await.expect("the only one");

    // The two connections are taken in turn, so the commands of a pair go over both at once.
    proxy.cross(true);
    let (a, b) = tokio::join!(values.get("a"), values.get("b"));
    assert!(
        !matches!(a, Ok(Some(ref value)) if value != "of a"),
        "{a:?}"
    );
    assert!(
        !matches!(b, Ok(Some(ref value)) if value != "of b"),
        "{b:?}"
    );
    assert!(
        !matches!((a, b), (Ok(Some(_)), Ok(Some(_)))),
        "the replies were not crossed"
    );

    // Believed, the denial would go to the one who has not asked yet.
    let (spent, fresh) = tokio::join!(limiter.check("spent"), limiter.check("fresh"));
    for error in [spent.err(), fresh.err()] {
        assert!(error.expect("a crossed reply").is_unavailable());
    }

    let (a, b) = tokio::join!(sessions.load(&alice), sessions.load(&bob));
    for (loaded, user) in [(a, "alice"), (b, "bob")] {
        if let Ok(Some(record)) = loaded {
            assert_eq!(record.user(), Some(user));
        }
    }

    proxy.cross(false);
    until_served(&redis).await;
    // What was stored before may count as purged: a look at the purge log may have been among what was crossed.
    let kept = async {
        for name in ["a", "b"] {
            while values.set(name, &format!("of {name}")).await.is_err() {}
        }
        loop {
            // Connections whose replies are out of step were given up.
            let (a, b) = tokio::join!(values.get("a"), values.get("b"));
            if let (Ok(Some(a)), Ok(Some(b))) = (a, b) {
                assert_eq!((a.as_str(), b.as_str()), ("of a", "of b"));
                break;
            }
        }
    };
    patiently("values that are found again", kept).await;
}
