//! Checks of limits that are asked for at the same time are decided together, and each caller gets its own answer.

use std::time::Duration;

use futures_util::future::join_all;
use tower_fred::{
    Error, Redis,
    fred::types::Value,
    rate_limit::{Decision, Quota, RateLimiter},
};

use crate::support::{
    Server,
    server::until_served,
    topology::{Cluster, run},
};

/// How many checks there are at once.
const MANY: usize = 64;
/// As many subjects; the next number is one that was not checked before.
const COUNT: u64 = 64;
const TEN: Quota = Quota::per_day(10);

async fn patient(server: &Server) -> Redis {
    server
        .redis_with(|builder| builder.deadline(Duration::from_secs(5)))
        .await
}

fn limiter(redis: &Redis) -> RateLimiter {
    RateLimiter::new(redis.clone(), TEN).no_denial_memory()
}

/// One check for each of the subjects.
async fn check_all(
    limiter: &RateLimiter,
    subjects: impl IntoIterator<Item = u64>,
) -> Vec<Result<Decision, Error>> {
    let subjects = subjects.into_iter();
    join_all(subjects.map(|subject| limiter.check(subject))).await
}

/// How much each one that was admitted left, and how many were not.
fn remaining(decisions: Vec<Result<Decision, Error>>) -> (Vec<u32>, usize) {
    let decisions = decisions
        .into_iter()
        .map(|found| found.expect("a decision"));
    let (admitted, denied): (Vec<_>, Vec<_>) = decisions.partition(Decision::is_allowed);
    let left = admitted.iter().map(Decision::remaining);
    (left.collect(), denied.len())
}

#[tokio::test]
async fn sixty_four_checks_at_once_are_at_most_four_commands() {
    let server = Server::start();
    let limiter = limiter(&patient(&server).await);
    // Both scripts are loaded.
    remaining(check_all(&limiter, 0..COUNT).await);
    let (counts, found) = server.count(check_all(&limiter, 0..COUNT)).await;
    assert_eq!(remaining(found), (vec![8; MANY], 0));
    assert!(counts.of("evalsha") <= 4, "{counts:?}");
    // What the script runs counts too.
    assert_eq!(counts.of("get"), COUNT, "{counts:?}");
    assert_eq!(counts.of("set"), COUNT, "{counts:?}");
    assert_eq!(counts.of("time"), counts.of("evalsha"), "{counts:?}");
}

#[tokio::test]
async fn a_limit_is_exact_for_one_subject_that_is_checked_many_times_at_once() {
    let server = Server::start();
    let limiter = limiter(&patient(&server).await);
    remaining(check_all(&limiter, 0..COUNT).await);
    let (counts, found) = server.count(check_all(&limiter, [COUNT; MANY])).await;
    let (mut left, denied) = remaining(found);
    left.sort_unstable();
    assert_eq!((left, denied), ((0..10).collect(), MANY - 10));
    assert!(counts.of("evalsha") <= 4, "{counts:?}");
    // A batch reads and writes a budget once.
    assert!(counts.of("get") <= 4, "{counts:?}");
    assert!(counts.of("set") <= 4, "{counts:?}");
}

/// Two processes, each with many tasks, on few subjects.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_is_exact_for_two_processes() {
    let server = Server::start();
    let one = patient(&server).await;
    let other = server
        .redis_with(|builder| {
            let builder = builder.namespace(one.namespace());
            builder.deadline(Duration::from_secs(5))
        })
        .await;
    let tasks = (0..COUNT).map(|task| {
        let limiter = limiter(if task % 2 == 0 { &one } else { &other });
        tokio::spawn(async move {
            let mut admitted = [0; 5];
            for round in 0..25 {
                let subject = (task + round) % 5;
                let decision = limiter.check(subject).await.expect("a decision");
                admitted[subject as usize] += usize::from(decision.is_allowed());
            }
            admitted
        })
    });
    let mut admitted = [0; 5];
    for task in join_all(tasks).await {
        for (sum, admitted) in admitted.iter_mut().zip(task.expect("a task")) {
            *sum += admitted;
        }
    }
    assert_eq!(admitted, [10; 5]);
}

#[tokio::test]
async fn other_costs_and_numbers_at_once() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let day = RateLimiter::new(redis.clone(), TEN).no_denial_memory();
    let second = RateLimiter::new(redis.clone(), Quota::per_second(3).burst(2)).no_denial_memory();
    let odd =
        RateLimiter::new(redis, Quota::new(7, Duration::from_secs(86_399))).no_denial_memory();
    for round in 0..3 {
        let checks = (0..COUNT).flat_map(|subject| {
            let cost = 1 + subject % 3;
            let subject = format!("{round} {subject}");
            [
                (day.clone(), subject.clone(), cost, Some(10 - cost)),
                (
                    second.clone(),
                    subject.clone(),
                    cost,
                    2_u64.checked_sub(cost),
                ),
                (odd.clone(), subject, 2 * cost, 7_u64.checked_sub(2 * cost)),
            ]
        });
        let checks = checks.map(async |(limiter, subject, cost, left)| {
            let decision = limiter.check_n(subject, cost).await.expect("a decision");
            let found = decision.is_allowed().then(|| decision.remaining().into());
            assert_eq!(found, left, "{cost}");
        });
        join_all(checks).await;
    }
}

#[tokio::test]
async fn a_damaged_budget_spoils_no_other() {
    let server = Server::start();
    let redis = patient(&server).await;
    let limiter = limiter(&redis);
    remaining(check_all(&limiter, 0..COUNT).await);
    let admin = server.admin().await;
    let keys: Vec<String> = run(&admin, "KEYS", &[&format!("{}:*", redis.namespace())])
        .await
        .expect("keys");
    assert_eq!(keys.len(), MANY);
    for (key, text) in keys.iter().zip(["no number", "99999999999999999", "9"]) {
        let _: Value = run(&admin, "SET", &[key, text]).await.expect("set");
    }
    for key in &keys[3..6] {
        let _: Value = run(&admin, "DEL", &[key]).await.expect("del");
        let _: Value = run(&admin, "RPUSH", &[key, "a"]).await.expect("a list");
    }
    // From before the clock was set back by ten years: a full burst is owed.
    let _: Value = run(&admin, "SET", &[&keys[6], "2065651200000000"])
        .await
        .expect("set");
    let (mut left, denied) = remaining(check_all(&limiter, 0..COUNT).await);
    left.sort_unstable();
    let expected = [vec![8; MANY - 7], vec![9; 6]].concat();
    assert_eq!((left, denied), (expected, 1));
}

/// A batch that got no answer may have been carried out: none of its checks is sent again.
#[tokio::test]
async fn a_batch_without_an_answer_is_each_one_s_error_and_does_not_run_late() {
    let server = Server::start();
    let deadline = Duration::from_millis(400);
    let redis = server
        .redis_with(|builder| builder.deadline(deadline))
        .await;
    let limiter = limiter(&redis);
    remaining(check_all(&limiter, 0..COUNT).await);
    server.stop();
    for found in check_all(&limiter, (0..COUNT).map(|at| at % 2)).await {
        assert!(found.expect_err("no answer").is_timeout());
    }
    // After two deadlines the server refuses to run what was sent.
    tokio::time::sleep(2 * deadline).await;
    server.resume();
    until_served(&redis).await;
    let (mut left, denied) = remaining(check_all(&limiter, (0..COUNT).map(|at| at % 2)).await);
    left.sort_unstable();
    let expected: Vec<u32> = (0..9).flat_map(|left| [left, left]).collect();
    assert_eq!((left, denied), (expected, MANY - 18));
}

#[tokio::test]
async fn a_lost_connection_never_admits_more_than_the_limit() {
    let server = Server::start();
    let limiter = limiter(&server.redis().await);
    remaining(check_all(&limiter, 0..COUNT).await);
    let admin = server.admin().await;
    let mut admitted = 0;
    for _ in 0..20 {
        let cut = async {
            let kill = ["KILL", "TYPE", "normal", "SKIPME", "yes"];
            let _: Value = run(&admin, "CLIENT", &kill).await.expect("kill");
        };
        let (found, ()) = futures_util::join!(check_all(&limiter, [COUNT; MANY]), cut);
        let decided = found.into_iter().flatten();
        admitted += decided.filter(Decision::is_allowed).count();
    }
    assert!(admitted <= 10, "{admitted}");
}

#[tokio::test]
async fn callers_that_are_dropped_harm_nobody() {
    let server = Server::start();
    let limiter = limiter(&patient(&server).await);
    remaining(check_all(&limiter, 0..COUNT).await);
    let checks = (0..COUNT).map(|subject| {
        let limiter = limiter.clone();
        tokio::spawn(async move { limiter.check(subject).await })
    });
    let checks: Vec<_> = checks.collect();
    tokio::task::yield_now().await;
    for check in checks.iter().step_by(2) {
        check.abort();
    }
    for check in checks.into_iter().skip(1).step_by(2) {
        let decision = check.await.expect("a task").expect("a decision");
        assert_eq!(decision.remaining(), 8);
    }
}

#[tokio::test]
async fn in_a_cluster_each_subject_has_its_own_limit() {
    let cluster = Cluster::start().await;
    let redis = cluster.redis().await;
    let limiter = limiter(&redis);
    for left in (7..10).rev() {
        let found = check_all(&limiter, 0..COUNT).await;
        assert_eq!(remaining(found), (vec![left; MANY], 0));
    }
    for subject in COUNT..COUNT + 3 {
        let (mut left, denied) = remaining(check_all(&limiter, [subject; MANY]).await);
        left.sort_unstable();
        assert_eq!((left, denied), ((0..10).collect(), MANY - 10));
    }
}
