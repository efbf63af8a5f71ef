//! What a process knows without asking Redis: denials, and permits that it took in advance.

use std::time::Duration;

use tower_fred::rate_limit::{Algorithm, Policy, Quota, RateLimiter};

use crate::{
    rate_limit::{admitted, another, command, patient},
    support::{Server, until},
};

#[tokio::test]
async fn a_flood_of_denied_requests_does_not_reach_redis() {
    let server = Server::start();
    let redis = patient(&server).await;
    for policies in [
        vec![Policy::new("a", Quota::per_day(2))],
        vec![
            Policy::new("a", Quota::per_day(2)).algorithm(Algorithm::SlidingLog),
            Policy::new("b", Quota::per_day(50)),
        ],
    ] {
        let limiter = RateLimiter::new(redis.clone(), policies);
        assert_eq!(admitted(&limiter, "alice", 3).await, 2);
        let first = limiter.check("alice").await.unwrap();
        let (counts, admitted) = server.count(admitted(&limiter, "alice", 10_000)).await;
        assert_eq!((admitted, counts.total()), (0, 0), "{counts:?}");
        // The time to retry runs on.
        let last = limiter.check("alice").await.unwrap();
        assert!(last.retry_after().unwrap() < first.retry_after().unwrap());
        assert!(last.standing().resets_after() < first.standing().resets_after());
        // Another subject, another policy and a smaller cost are other matters.
        assert!(limiter.check("bob").await.unwrap().is_allowed());
        assert!(limiter.check_n("alice", 0).await.unwrap().is_allowed());
        limiter.reset("alice").await.unwrap();
        assert!(limiter.check("alice").await.unwrap().is_allowed());
        assert!(!limiter.check_n("alice", 2).await.unwrap().is_allowed());
        assert!(limiter.check("alice").await.unwrap().is_allowed());
    }
}

#[tokio::test]
async fn what_is_remembered_is_never_denied_for_longer_than_redis_says() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let quota = Quota::new(1, Duration::from_millis(20));
    for algorithm in [
        Algorithm::Gcra,
        Algorithm::SlidingLog,
        Algorithm::SlidingWindow,
    ] {
        let remembering = RateLimiter::new(redis.clone(), quota).algorithm(algorithm);
        let asking = remembering.clone().no_denial_memory();
        let (mut denials, mut admissions) = (0, 0);
        while admissions < 10 {
            // Whoever has no memory is asked first, and nobody else asks: what it admits, the other had no say in.
            if asking.peek("alice").await.unwrap().is_allowed() {
                assert!(
                    remembering.check("alice").await.unwrap().is_allowed(),
                    "{algorithm:?}"
                );
                admissions += 1;
            } else {
                denials += usize::from(!remembering.check("alice").await.unwrap().is_allowed());
            }
        }
        assert!(denials > 0);
    }
}

#[tokio::test]
async fn a_batch_is_spent_without_redis() {
    let server = Server::start();
    let redis = patient(&server).await;
    for algorithm in [
        Algorithm::Gcra,
        Algorithm::SlidingLog,
        Algorithm::SlidingWindow,
        Algorithm::CalendarWindow,
    ] {
        let limiter = RateLimiter::new(redis.clone(), Quota::per_day(9_000))
            .algorithm(algorithm)
            .local_batch(50);
        // It begins with one, and takes twice as many each time they were used up soon.
        assert_eq!(admitted(&limiter, "alice", 100).await, 100);
        let (counts, all) = server.count(admitted(&limiter, "alice", 5_000)).await;
        assert_eq!(all, 5_000);
        let calls = counts.of("evalsha");
        assert!(calls <= 5_000 * 2 / 50, "{algorithm:?}: {calls}");
        // Exactly the quota, none more: what is left is taken as it is.
        assert_eq!(
            admitted(&limiter, "alice", 5_000).await,
            3_900,
            "{algorithm:?}"
        );
    }
}

#[tokio::test]
async fn requests_at_the_same_time_share_one_batch() {
    let server = Server::start();
    let redis = patient(&server).await;
    let limiter = RateLimiter::new(redis, Quota::per_day(1_000)).local_batch(64);
    assert_eq!(admitted(&limiter, "alice", 200).await, 200);
    let work = async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let limiter = limiter.clone();
            tasks.spawn(async move { limiter.check("alice").await.unwrap().is_allowed() });
        }
        tasks
            .join_all()
            .await
            .into_iter()
            .filter(|admitted| *admitted)
            .count()
    };
    let (counts, admitted) = server.count(work).await;
    assert_eq!(admitted, 800);
    // Up to the end of the quota, then one that is denied. All who waited for it used to ask anew, one after the other.
    assert!(counts.of("evalsha") <= 1_000 * 2 / 64, "{counts:?}");
}

/// What was held counted for a request that waited for more, and others spent it meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_permit_is_spent_twice() {
    let server = Server::shared();
    let redis = patient(&server).await;
    for round in 0..20_u64 {
        let limiter = RateLimiter::new(redis.clone(), Quota::per_day(1_000)).local_batch(16);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..600_u64 {
            let limiter = limiter.clone();
            let cost = 1 + (number * 7 + round) % 5;
            tasks.spawn(async move {
                let decision = limiter.check_n(round, cost).await.unwrap();
                if decision.is_allowed() { cost } else { 0 }
            });
        }
        let admitted: u64 = tasks.join_all().await.into_iter().sum();
        limiter.give_back().await.unwrap();
        let left = limiter.peek(round).await.unwrap().remaining();
        assert_eq!(admitted + u64::from(left), 1_000, "round {round}");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_loses_no_batch() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let limiter = RateLimiter::new(redis.clone(), Quota::per_day(1_000)).local_batch(64);
    assert_eq!(admitted(&limiter, "alice", 127).await, 127);
    // The next one asks for 64 more, and goes away while it waits for the answer.
    let mut asking = Box::pin(limiter.check("alice"));
    let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
    assert!(asking.as_mut().poll(context).is_pending());
    tokio::task::yield_now().await;
    drop(asking);
    limiter.give_back().await.unwrap();
    until_at_least(&limiter, 1_000 - 128).await;
}

/// Waits until Alice has so many permits left, or more.
async fn until_at_least(limiter: &RateLimiter, permits: u32) {
    until("permits", async || {
        limiter.give_back().await.expect("an answer");
        let peeked = limiter.peek("alice").await.expect("an answer");
        peeked.remaining() >= permits
    })
    .await;
}

#[tokio::test]
async fn what_is_not_spent_is_given_back() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let quota = Quota::per_day(100);
    for algorithm in [
        Algorithm::Gcra,
        Algorithm::SlidingLog,
        Algorithm::CalendarWindow,
    ] {
        let plain = RateLimiter::new(another(&server, &redis).await, quota).algorithm(algorithm);
        let batched = RateLimiter::new(redis.clone(), quota)
            .algorithm(algorithm)
            .local_batch(40);
        // 1 + 2 + 4 + 8 + 16 are taken, then 32, of which one is spent.
        assert_eq!(admitted(&batched, "alice", 32).await, 32);
        assert_eq!(
            plain.peek("alice").await.unwrap().remaining(),
            100 - 63,
            "{algorithm:?}"
        );
        batched.give_back().await.unwrap();
        assert_eq!(
            plain.peek("alice").await.unwrap().remaining(),
            68,
            "{algorithm:?}"
        );

        // By itself, when it is not used for a while.
        assert!(batched.check("alice").await.unwrap().is_allowed());
        assert!(plain.peek("alice").await.unwrap().remaining() < 67);
        until_remaining(&plain, 67).await;

        // And when the last clone is dropped.
        assert!(admitted(&batched, "alice", 2).await == 2);
        drop(batched);
        until_remaining(&plain, 65).await;
        plain.reset("alice").await.unwrap();
    }
}

/// Waits until Alice has so many permits left.
async fn until_remaining(limiter: &RateLimiter, permits: u32) {
    until("permits", async || {
        let peeked = limiter.peek("alice").await.expect("an answer");
        peeked.remaining() == permits
    })
    .await;
}

#[tokio::test]
async fn processes_with_batches_never_admit_more_than_the_quota_together() {
    let server = Server::shared();
    let redis = patient(&server).await;
    for algorithm in [
        Algorithm::Gcra,
        Algorithm::SlidingLog,
        Algorithm::CalendarWindow,
    ] {
        let mut tasks = tokio::task::JoinSet::new();
        let name = format!("{algorithm:?}");
        for _ in 0..4 {
            let redis = another(&server, &redis).await;
            let limiter = RateLimiter::new(redis, Quota::per_day(500))
                .name(&name)
                .algorithm(algorithm);
            let limiter = limiter.local_batch(20);
            tasks.spawn(async move {
                let count = admitted(&limiter, "alice", 300).await;
                limiter.give_back().await.unwrap();
                count
            });
        }
        let admitted: usize = tasks.join_all().await.into_iter().sum();
        // Less than the quota only by what others held when one was denied: given back, it is there again.
        assert!((500 - 3 * 20..=500).contains(&admitted), "{admitted}");
        let limiter = RateLimiter::new(redis.clone(), Quota::per_day(500))
            .name(&name)
            .algorithm(algorithm);
        assert_eq!(
            limiter.peek("alice").await.unwrap().remaining(),
            (500 - admitted) as u32
        );
    }
}

/// The bytes of a key with all that the server keeps for it, by algorithm: 72 for GCRA's key and value, twice as much for
/// the tables; 268 more for a ring, and as a log is a listpack, some 60 more for that.
const THEORY: [(Algorithm, u64, u64); 4] = [
    (Algorithm::Gcra, 100_000, 260),
    (Algorithm::CalendarWindow, 20_000, 280),
    (Algorithm::SlidingWindow, 20_000, 560),
    (Algorithm::SlidingLog, 20_000, 300),
];

/// No key expires while the test makes the others: a permit is back after ten years, and the window on the calendar, which
/// counts from 1970, ends in December 2029. All times in the values have 16 digits, as those of short quotas.
const TEN_YEARS: Quota = Quota::new(1, Duration::from_secs(10 * 365 * 86_400));

#[tokio::test]
async fn many_keys_take_what_theory_says() {
    let server = Server::start();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    for (algorithm, keys, most) in THEORY {
        let before = used(&admin).await;
        let limiter = RateLimiter::new(redis.clone(), TEN_YEARS).algorithm(algorithm);
        ask_each(&limiter, keys).await;
        let found: u64 = command(&admin, "DBSIZE", &[]).await;
        let each = (used(&admin).await - before) / keys;
        println!("{algorithm:?}: {each} bytes a key");
        assert_eq!(found, keys, "{algorithm:?}");
        assert!(each <= most, "{algorithm:?}: {each} bytes a key");
        // Newer servers free the memory later by default, while the next row is already measured.
        let _: String = command(&admin, "FLUSHALL", &["SYNC"]).await;
    }
}

#[tokio::test]
async fn all_keys_are_gone_when_their_time_is_over() {
    let server = Server::start();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    for (algorithm, ..) in THEORY {
        let quota = Quota::new(1, Duration::from_millis(200));
        let limiter = RateLimiter::new(redis.clone(), quota).algorithm(algorithm);
        ask_each(&limiter, 2_000).await;
        until("the end of all keys", async || {
            command::<u64>(&admin, "DBSIZE", &[]).await == 0
        })
        .await;
    }
}

/// One request for each of so many subjects.
async fn ask_each(limiter: &RateLimiter, subjects: u64) {
    for start in (0..subjects).step_by(500) {
        let asked = (start..start + 500).map(|subject| limiter.check(subject));
        for decision in futures_util::future::join_all(asked).await {
            assert!(decision.expect("as arranged").is_allowed());
        }
    }
}

/// What the server has in memory, in bytes.
async fn used(admin: &tower_fred::fred::clients::Client) -> u64 {
    let info: String = command(admin, "INFO", &["memory"]).await;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    line.and_then(|bytes| bytes.trim().parse().ok())
        .expect("used_memory")
}
