//! Scripts that a server forgets, and users who may not load them.

use std::time::{Duration, Instant};

use tower_fred::{
    Redis,
    fred::{clients::Client, types::Value},
    rate_limit::{Quota, RateLimiter},
    redis::RedisBuilder,
};

use crate::support::{
    Server,
    proxy::{Mode, Proxy},
    server::namespace,
    topology::{Cluster, run},
};

/// Since Redis 7.4 and Valkey 8 a server keeps 500 scripts of EVAL: those of other clients pushed ours out again and again.
#[tokio::test]
async fn the_scripts_of_others_do_not_push_ours_out() {
    let server = Server::start();
    let admin = server.admin().await;
    let limiter = limiter(&builder().connect(&server.url()).await.expect("a handle"));
    let (counts, ()) = server.count(check(&limiter, 1)).await;
    // The first time it is not there.
    assert_eq!(counts.of("script|load"), 1, "{counts:?}");
    for number in 0..600 {
        let _: i64 = run(&admin, "EVAL", &[&format!("return {number}"), "0"])
            .await
            .expect("a number");
    }
    let (counts, ()) = server.count(check(&limiter, 5)).await;
    let sent = ["evalsha", "eval", "script|load"].map(|command| counts.of(command));
    assert_eq!(sent, [5, 0, 0], "{counts:?}");
}

#[tokio::test]
async fn a_script_that_is_not_there_is_loaded_and_runs_once() {
    let server = Server::start();
    let admin = server.admin().await;
    let limiter = limiter(&builder().connect(&server.url()).await.expect("a handle"));
    check(&limiter, 1).await;
    let _: Value = run(&admin, "SCRIPT", &["FLUSH"]).await.expect("a flush");
    let (counts, ()) = server.count(check(&limiter, 5)).await;
    let sent = ["evalsha", "eval", "script|load"].map(|command| counts.of(command));
    assert_eq!(sent, [6, 0, 1], "{counts:?}");
    assert_eq!(remaining(&limiter).await, QUOTA - 7);
}

#[tokio::test]
async fn a_user_who_may_not_load_scripts_sends_them() {
    let server = Server::start();
    let admin = server.admin().await;
    let rules = [
        "SETUSER", "shop", "on", ">pw", "~*", "&*", "+@all", "-script",
    ];
    let _: () = run(&admin, "ACL", &rules).await.expect("a user");
    let url = format!("redis://shop:pw@127.0.0.1:{}", server.port());
    let limiter = limiter(&builder().connect(&url).await.expect("a handle"));
    let (counts, ()) = server.count(check(&limiter, 3)).await;
    let sent = ["evalsha", "eval"].map(|command| counts.of(command));
    assert_eq!(sent, [3, 1], "{counts:?}");
    assert_eq!(remaining(&limiter).await, QUOTA - 4);
}

/// The steps have one deadline together, and what comes after it does not run.
#[tokio::test]
async fn the_steps_of_loading_share_one_deadline() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let builder = builder().deadline(Duration::from_millis(500));
    let redis = builder.connect(&proxy.url()).await.expect("a handle");
    let limiter = limiter(&redis);
    proxy.set(Mode::Delay(Duration::from_millis(200)));
    let begun = Instant::now();
    // Three round trips of 200 ms.
    let decision = limiter.check("ada").await;
    let error = decision.expect_err("too late");
    assert!(error.is_unavailable(), "{error:?}");
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(590), "{took:?}");
    assert!(took > Duration::from_millis(400), "{took:?}");
}

#[tokio::test]
async fn in_a_cluster_they_are_loaded_where_the_key_is() {
    let cluster = Cluster::start().await;
    let own = builder().connect(&cluster.url()).await.expect("a handle");
    let shared = builder().client(cluster.application_client().await);
    let flush = async || {
        for admin in cluster.primaries() {
            let _: Value = run(admin, "SCRIPT", &["FLUSH"]).await.expect("a flush");
        }
    };
    for redis in [own, shared.expect("a handle")] {
        let limiter = limiter(&redis);
        flush().await;
        for number in 0..20 {
            let decision = limiter.check(number.to_string().as_str()).await;
            assert!(decision.expect("a decision").is_allowed());
        }
        let mut evals = 0;
        for admin in cluster.primaries() {
            evals += calls(admin, "eval").await;
            assert!(calls(admin, "script|load").await >= 1);
        }
        assert_eq!(evals, 0);
    }
}

async fn calls(admin: &Client, command: &str) -> u64 {
    let info: String = run(admin, "INFO", &["commandstats"]).await.expect("info");
    let line = format!("cmdstat_{command}:calls=");
    let calls = info.lines().find_map(|found| found.strip_prefix(&line));
    calls
        .and_then(|rest| rest.split(',').next()?.parse().ok())
        .unwrap_or(0)
}

async fn check(limiter: &RateLimiter, times: u32) {
    for _ in 0..times {
        let decision = limiter.check("ada").await.expect("a decision");
        assert!(decision.is_allowed());
    }
}

/// What is left after one more.
async fn remaining(limiter: &RateLimiter) -> u32 {
    limiter.check("ada").await.expect("a decision").remaining()
}

fn limiter(redis: &Redis) -> RateLimiter {
    RateLimiter::new(redis.clone(), Quota::per_day(QUOTA)).no_denial_memory()
}

fn builder() -> RedisBuilder {
    Redis::builder()
        .namespace(namespace())
        .deadline(Duration::from_secs(5))
}

const QUOTA: u32 = 1000;
