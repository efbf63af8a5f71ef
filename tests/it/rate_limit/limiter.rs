//! The limiter against a real server.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tower_fred::{
    Redis,
    fred::interfaces::KeysInterface,
    rate_limit::{Decision, Quota, RateLimiter},
};

use super::{ALGORITHMS, admitted, command, keys, only_key, patient, patient_pool, time};
use crate::support::{Server, until};

const FIVE: Quota = Quota::per_day(5);

#[tokio::test]
async fn a_burst_and_then_denials() {
    let server = Server::shared();
    let limiter = RateLimiter::new(patient(&server).await, FIVE);
    let one_permit = Duration::from_secs(86_400 / 5);
    for left in (0..5).rev() {
        let decision = limiter.check("alice").await.unwrap();
        let standing = decision.standing();
        assert!(decision.is_allowed());
        assert_eq!((standing.remaining(), standing.limit()), (left, 5));
        assert_eq!(
            (standing.policy(), standing.quota()),
            ("default", Some(FIVE))
        );
        assert!(standing.resets_after() <= one_permit * (5 - left));
        assert!(standing.resets_after() > one_permit * (4 - left));
    }
    for _ in 0..3 {
        let Decision::Deny(denial) = limiter.check("alice").await.unwrap() else {
            panic!("admitted");
        };
        assert_eq!(denial.standing().remaining(), 0);
        let wait = denial.retry_after().unwrap();
        assert!(wait <= one_permit && wait > one_permit / 2, "{wait:?}");
        assert_eq!(denial.standing().effective_window(), Some(wait));
    }
    assert!(limiter.check("bob").await.unwrap().is_allowed());
}

#[tokio::test]
async fn a_denial_writes_nothing() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let limiter = RateLimiter::new(redis.clone(), FIVE).no_denial_memory();
    assert_eq!(admitted(&limiter, "alice", 5).await, 5);

    let key = only_key(&admin, redis.namespace()).await;
    let state = async || -> (String, u64) {
        let value = command(&admin, "GET", &[&key]).await;
        (value, command(&admin, "PEXPIRETIME", &[&key]).await)
    };
    let before = state().await;
    assert_eq!(admitted(&limiter, "alice", 20).await, 0);
    assert!(!limiter.check_n("alice", 2).await.unwrap().is_allowed());
    assert_eq!(state().await, before);
}

#[tokio::test]
async fn the_time_to_retry_is_true() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let quota = Quota::new(1, Duration::from_secs(1));
    let limiter = RateLimiter::new(redis.clone(), quota).no_denial_memory();
    assert!(limiter.check("alice").await.unwrap().is_allowed());
    let key = only_key(&admin, redis.namespace()).await;
    let paid_at: u64 = command(&admin, "GET", &[&key]).await;

    // The server's clock before and after each decision says which of the two it had to be.
    for _ in 0..1_000_000 {
        let before = time(&admin).await;
        let decision = limiter.check("alice").await.unwrap();
        let after = time(&admin).await;
        if decision.is_allowed() {
            assert!(after >= paid_at, "{} us early", paid_at - after);
            return;
        }
        assert!(before < paid_at, "{} us late", before - paid_at);
        // Counted from the decision, the wait ends when the debt is paid.
        let wait = decision.retry_after().unwrap().as_micros() as u64;
        assert!((before..=after).contains(&(paid_at - wait)));
    }
    panic!("never admitted");
}

#[tokio::test]
async fn nobody_waits_longer_than_one_burst_takes() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let limiter = RateLimiter::new(redis.clone(), Quota::per_minute(10)).name("mails");
    assert!(limiter.check("alice").await.unwrap().is_allowed());

    // As after the server's clock was set back by ten years.
    let key = only_key(&admin, redis.namespace()).await;
    let far = (time(&admin).await + 315_576_000_000_000).to_string();
    let _: String = command(&admin, "SET", &[&key, &far, "EX", "400000000"]).await;
    let decision = limiter.check("alice").await.unwrap();
    assert_eq!(decision.retry_after(), Some(Duration::from_secs(6)));

    // The same budget under a smaller quota.
    let smaller = RateLimiter::new(redis, Quota::per_second(4)).name("mails");
    let decision = smaller.check("alice").await.unwrap();
    assert_eq!(decision.retry_after(), Some(Duration::from_millis(250)));
}

#[tokio::test]
async fn every_key_lives_until_its_debt_is_paid() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let quota = Quota::new(700, Duration::from_millis(100)).burst(7_000);
    let limiter = RateLimiter::new(redis.clone(), quota);
    for cost in [1, 3, 700, 1_000] {
        for subject in 0..20 {
            limiter.check_n(subject, cost).await.unwrap();
        }
    }
    for key in keys(&admin, redis.namespace()).await {
        let value: Option<String> = command(&admin, "GET", &[&key]).await;
        let expires: i64 = command(&admin, "PEXPIRETIME", &[&key]).await;
        if expires == -2 || value.is_none() {
            continue;
        }
        let value = value.unwrap();
        let paid_at: i64 = value.split(':').next().unwrap().parse().unwrap();
        // A key is there until the end of the millisecond at which it expires.
        let late = (expires + 1) * 1_000 - paid_at;
        assert!((1..=1_000).contains(&late), "{key}: {late} us late");
    }
    until("the end of all keys", async || {
        keys(&admin, redis.namespace()).await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn foreign_values_count_as_nothing() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let limiter = RateLimiter::new(redis.clone(), FIVE);
    limiter.check("alice").await.unwrap();
    let key = only_key(&admin, redis.namespace()).await;

    let long = "9".repeat(400);
    let garbage = [
        "",
        "garbage",
        "-5",
        "17",
        "1e15",
        "nan",
        "inf",
        "0x7fffffffffffffff",
        "1:2:3",
        ":",
        ":5",
        "99999999999999999",
        "\0",
        "1 ",
        " 1",
        "{}",
        "1\n",
        &long,
    ];
    for value in garbage {
        let _: String = command(&admin, "SET", &[&key, value]).await;
        let decision = limiter.check("alice").await.unwrap();
        assert!(decision.is_allowed(), "{value:?}");
        assert_eq!(decision.remaining(), 4, "{value:?}");
        assert!(admin.pttl::<i64, _>(&key).await.unwrap() > 0, "{value:?}");
    }
    // Only the ticks are odd: bounded, as is all that is left over from another quota.
    let soon = format!("{}:{long}", time(&admin).await + 1_000_000_000);
    let _: String = command(&admin, "SET", &[&key, &soon]).await;
    assert_eq!(limiter.check("alice").await.unwrap().remaining(), 3);

    let others: [(&'static str, &[&str]); 5] = [
        ("LPUSH", &["x"]),
        ("HSET", &["x", "y"]),
        ("SADD", &["x"]),
        ("ZADD", &["1", "x"]),
        ("XADD", &["*", "x", "y"]),
    ];
    for (add, arguments) in others {
        let _: i64 = command(&admin, "DEL", &[&key]).await;
        let arguments = [&[key.as_str()], arguments].concat();
        let _: tower_fred::fred::types::Value = command(&admin, add, &arguments).await;
        assert_eq!(
            limiter.check("alice").await.unwrap().remaining(),
            4,
            "{add}"
        );
        let kind: String = command(&admin, "TYPE", &[&key]).await;
        assert_eq!(kind, "string");
    }
}

#[tokio::test]
async fn a_value_that_may_not_be_read_is_an_error() {
    let server = Server::start();
    let admin = server.admin().await;
    let user = [
        "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-get",
    ];
    let _: String = command(&admin, "ACL", &user).await;
    let url = format!("redis://limited:secret@127.0.0.1:{}", server.port());
    let limiter = RateLimiter::new(Redis::connect(&url).await.unwrap(), FIVE);
    // Not a reset: that would be no limit at all.
    assert!(limiter.check("alice").await.is_err());
}

#[tokio::test]
async fn any_bytes_are_a_key() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let limiter = RateLimiter::new(redis.clone(), Quota::per_day(2));
    let long = vec![b'x'; 64 * 1024];
    let subjects: [&[u8]; 9] = [
        b"",
        b"\0",
        b"{}",
        b"}{",
        b"{a}",
        b"*",
        b"a\r\nDEL b\r\n",
        b"\xff\xfe\xc3\x28",
        &long,
    ];
    for subject in subjects {
        for expected in [true, true, false] {
            let decision = limiter.check(subject).await.unwrap();
            assert_eq!(
                decision.is_allowed(),
                expected,
                "{:?}",
                &subject[..subject.len().min(9)]
            );
        }
    }
    let keys = keys(&admin, redis.namespace()).await;
    assert_eq!(keys.len(), subjects.len());
    let length = redis.namespace().len() + ":r:{}".len() + 22 + 11;
    assert!(keys.iter().all(|key| key.len() == length), "{keys:?}");
}

/// The names of earlier releases are longer. What they store is not read, and stays as it is.
#[tokio::test]
async fn budgets_with_names_of_earlier_releases_are_left_alone() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let former = |digit: char| {
        let digits = digit.to_string().repeat(32);
        format!("{}:r:{{{digits}}}:{digits}", redis.namespace())
    };
    let debt = time(&admin).await + 86_400_000_000;
    let names: Vec<String> = "0123456789abcdef".chars().map(former).collect();
    for name in &names {
        let _: String = command(&admin, "SET", &[name, &debt.to_string(), "EX", "60"]).await;
    }
    for algorithm in ALGORITHMS {
        let limiter = RateLimiter::new(redis.clone(), FIVE).algorithm(algorithm);
        assert_eq!(admitted(&limiter, "alice", 6).await, 5, "{algorithm:?}");
    }
    for name in &names {
        let value: String = command(&admin, "GET", &[name]).await;
        assert_eq!(value, debt.to_string());
    }
    let all = keys(&admin, redis.namespace()).await;
    assert_eq!(all.len(), names.len() + ALGORITHMS.len());
}

#[tokio::test]
async fn a_cost_is_paid_whole_or_not_at_all() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let limiter = RateLimiter::new(redis.clone(), FIVE);

    for cost in [6, u64::from(u32::MAX), u64::MAX] {
        let decision = limiter.check_n("alice", cost).await.unwrap();
        assert!(!decision.is_allowed());
        assert_eq!((decision.retry_after(), decision.remaining()), (None, 5));
    }
    let looked = limiter.check_n("alice", 0).await.unwrap();
    assert!(looked.is_allowed());
    assert_eq!(looked.remaining(), 5);
    assert!(keys(&admin, redis.namespace()).await.is_empty());

    assert_eq!(limiter.check_n("alice", 3).await.unwrap().remaining(), 2);
    let decision = limiter.check_n("alice", 4).await.unwrap();
    assert_eq!((decision.is_allowed(), decision.remaining()), (false, 2));
    // Two more have to come back.
    let wait = decision.retry_after().unwrap();
    assert!(wait <= Duration::from_secs(2 * 17_280) && wait > Duration::from_secs(17_280));
    assert_eq!(limiter.check_n("alice", 2).await.unwrap().remaining(), 0);
    assert!(limiter.check_n("alice", 0).await.unwrap().is_allowed());
}

#[tokio::test]
async fn one_command_per_decision() {
    let server = Server::start();
    for redis in [patient(&server).await, patient_pool(&server).await] {
        let limiter = RateLimiter::new(redis, FIVE).no_denial_memory();
        limiter.check("alice").await.unwrap();
        let (counts, admitted) = server.count(admitted(&limiter, "alice", 50)).await;
        assert_eq!(admitted, 4);
        assert_eq!(counts.of("evalsha"), 50, "{counts:?}");
        // What the script ran counts too: the clock and the value each time, a write when admitted.
        let inside = ["time", "get", "set"].map(|name| counts.of(name));
        assert_eq!(inside, [50, 50, 4]);
        assert_eq!(counts.total(), 50 + 50 + 50 + 4, "{counts:?}");
    }
}

#[tokio::test]
async fn a_script_flush_costs_two_more_commands() {
    let server = Server::start();
    let admin = server.admin().await;
    let limiter = RateLimiter::new(patient(&server).await, FIVE).no_denial_memory();
    assert_eq!(admitted(&limiter, "alice", 2).await, 2);
    let _: String = command(&admin, "SCRIPT", &["FLUSH"]).await;
    let (counts, admitted) = server.count(admitted(&limiter, "alice", 8)).await;
    assert_eq!(admitted, 3);
    let sent = ["evalsha", "eval", "script|load"].map(|name| counts.of(name));
    assert_eq!(sent, [9, 0, 1]);
}

#[tokio::test]
async fn the_name_and_the_namespace_make_the_budget() {
    let server = Server::shared();
    let admin = server.admin().await;
    let redis = patient(&server).await;
    let search = RateLimiter::new(redis.clone(), FIVE).name("search");
    assert_eq!(admitted(&search, "alice", 4).await, 4);

    let same = RateLimiter::new(redis.clone(), Quota::per_day(5)).name("search");
    assert_eq!(admitted(&same, "alice", 4).await, 1);
    let other_name = RateLimiter::new(redis.clone(), FIVE);
    assert_eq!(admitted(&other_name, "alice", 9).await, 5);
    let other_namespace = RateLimiter::new(patient(&server).await, FIVE).name("search");
    assert_eq!(admitted(&other_namespace, "alice", 9).await, 5);

    // One subject, one slot of a cluster.
    let keys = keys(&admin, redis.namespace()).await;
    let tags = keys.iter().map(|key| key.split(['{', '}']).nth(1).unwrap());
    let tags: Vec<&str> = tags.collect();
    assert_eq!((tags.len(), tags[0]), (2, tags[1]));
    assert!(!keys.concat().contains("alice") && !keys.concat().contains("search"));
}

#[tokio::test]
async fn names_are_printable_ascii() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let limiter = RateLimiter::new(redis, FIVE);
    for name in ["", "caf\u{e9}", "a\n", "\x7f", "\0"] {
        let limiter = limiter.clone();
        assert!(
            catch_unwind(AssertUnwindSafe(|| limiter.name(name))).is_err(),
            "{name:?}"
        );
    }
    let _ = limiter.name(r#"a "b" \c ~"#);
}
