//! One quota, four processes.

use tower_fred::{
    Redis,
    rate_limit::{Algorithm, Policies, Policy, Quota, RateLimiter},
};

use crate::{
    rate_limit::command,
    support::{Server, process, until},
};

const PROCESSES: usize = 4;
const REQUESTS: usize = 250;
const QUOTA: Quota = Quota::per_day(137);

/// What all processes are held to, and the name that tells them.
fn policies(name: &str) -> Policies {
    let policy = |algorithm| Policy::new("shared", QUOTA).algorithm(algorithm);
    match name {
        "gcra" => policy(Algorithm::Gcra).into(),
        "log" => policy(Algorithm::SlidingLog).into(),
        "window" => policy(Algorithm::SlidingWindow).into(),
        "calendar" => policy(Algorithm::CalendarWindow).into(),
        "places" => Policy::concurrency("shared", 137).into(),
        "several" => Policies::from([
            Policy::new("large", Quota::per_day(500)),
            policy(Algorithm::SlidingLog),
            Policy::new("larger", Quota::per_day(900)).algorithm(Algorithm::CalendarWindow),
        ]),
        other => panic!("{other}"),
    }
}

/// Exactly so many of 1,000 concurrent requests from four processes.
async fn check(name: &str) {
    let server = Server::start();
    let admin = server.admin().await;
    let input = format!("{name} {}", server.url());
    let start = |_| process::start("rate_limit::engine::processes::child", &input);
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
        admitted.extend(output.await.expect("as arranged"));
    }
    assert_eq!(admitted.len(), PROCESSES);
    let counts: Vec<usize> = admitted
        .iter()
        .map(|count| count.parse().expect("as arranged"))
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 137, "{counts:?}");
}

#[tokio::test]
async fn exactly_the_quota_by_gcra() {
    check("gcra").await;
}

#[tokio::test]
async fn exactly_the_quota_by_the_log() {
    check("log").await;
}

#[tokio::test]
async fn exactly_the_quota_by_the_window() {
    check("window").await;
}

#[tokio::test]
async fn exactly_the_quota_by_the_calendar() {
    check("calendar").await;
}

#[tokio::test]
async fn exactly_as_many_as_there_are_places() {
    check("places").await;
}

#[tokio::test]
async fn exactly_the_smallest_of_several() {
    check("several").await;
}

/// Another process of the tests above.
#[tokio::test]
async fn child() {
    let Some(input) = process::input() else {
        return;
    };
    let (name, url) = input.split_once(' ').unwrap();
    // Enough for a busy machine: an answer that comes late is not counted here, but in Redis it is.
    let deadline = std::time::Duration::from_secs(60);
    let redis = Redis::builder().namespace("shared").deadline(deadline);
    let redis = redis.connect(url).await.unwrap();
    let gate = redis.client().clone_new();
    tower_fred::fred::interfaces::ClientLike::init(&gate)
        .await
        .unwrap();
    let _: i64 = command(&gate, "RPUSH", &["ready", "1"]).await;
    let go: Option<(String, String)> = command(&gate, "BLPOP", &["go", "60"]).await;
    assert!(go.is_some());

    let limiter = RateLimiter::new(redis, policies(name)).no_denial_memory();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..REQUESTS {
        let limiter = limiter.clone();
        tasks.spawn(async move { limiter.check("everybody").await.unwrap() });
    }
    // Places are held until all have asked.
    let decisions = tasks.join_all().await;
    let _: i64 = command(&gate, "RPUSH", &["asked", "1"]).await;
    until("the other processes", async || {
        command::<usize>(&gate, "LLEN", &["asked"]).await == PROCESSES
    })
    .await;
    let admitted = decisions.iter().filter(|decision| decision.is_allowed());
    println!("ADMITTED {}", admitted.count());
}
