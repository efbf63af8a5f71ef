//! One quota, four processes.

use tower_fred::{
    Redis,
    rate_limit::{Quota, RateLimiter},
};

use super::command;
use crate::support::{Server, process};

const PROCESSES: usize = 4;
const REQUESTS: usize = 250;
const QUOTA: Quota = Quota::per_day(137);

#[tokio::test]
async fn exactly_the_quota_of_concurrent_requests_is_admitted() {
    let server = Server::start();
    let admin = server.admin().await;
    let start = |_| process::start("rate_limit::processes::child", &server.url());
    let children: Vec<_> = (0..PROCESSES).map(start).collect();

    // All are connected before any may begin.
    for _ in 0..PROCESSES {
        let ready: Option<(String, String)> = command(&admin, "BLPOP", &["ready", "60"]).await;
        assert!(ready.is_some(), "a process does not come up");
    }
    let _: i64 = command(&admin, "RPUSH", &["go", "1", "2", "3", "4"]).await;

    let mut admitted = Vec::new();
    for child in children {
        let output = tokio::task::spawn_blocking(|| process::output(child, "ADMITTED "));
        admitted.extend(output.await.unwrap());
    }
    assert_eq!(admitted.len(), PROCESSES);
    let counts: Vec<usize> = admitted
        .iter()
        .map(|count| count.parse().unwrap())
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 137, "{counts:?}");
}

/// Another process of the test above.
#[tokio::test]
async fn child() {
    let Some(url) = process::input() else { return };
    // Enough for a busy machine: an answer that comes late is not counted here, but in Redis it is.
    let deadline = std::time::Duration::from_secs(60);
    let redis = Redis::builder().namespace("shared").deadline(deadline);
    let redis = redis.connect(&url).await.unwrap();
    let gate = redis.client().clone_new();
    tower_fred::fred::interfaces::ClientLike::init(&gate)
        .await
        .unwrap();
    let _: i64 = command(&gate, "RPUSH", &["ready", "1"]).await;
    let go: Option<(String, String)> = command(&gate, "BLPOP", &["go", "60"]).await;
    assert!(go.is_some());

    let limiter = RateLimiter::new(redis, QUOTA);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..REQUESTS {
        let limiter = limiter.clone();
        tasks.spawn(async move { limiter.check("everybody").await.unwrap().is_allowed() });
    }
    let admitted = tasks
        .join_all()
        .await
        .into_iter()
        .filter(|admitted| *admitted)
        .count();
    println!("ADMITTED {admitted}");
}
