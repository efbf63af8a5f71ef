//! One key under two policies: other quotas, other leases, and stored marks that cannot be read.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    harness::{NOW, Policy, Script, check, micros},
    quota::Quota,
};
use crate::{rate_limit::command, support::Server};

#[tokio::test]
async fn another_window_forgets_nothing_that_counts() {
    let server = Server::shared();
    let admin = server.admin().await;
    let minute = Policy::new("ring", Quota::per_minute(10));
    let script = Script::new(&admin, [minute]);
    assert!(script.take(NOW, 10).await.admitted);
    let key = script.policies[0].1.clone();
    for quota in [
        Quota::per_hour(10),
        Quota::per_second(10),
        Quota::per_day(3),
    ] {
        let policies = vec![(Policy::new("ring", quota), key.clone())];
        let other = Script {
            admin: &admin,
            policies,
        };
        assert!(!other.fits(NOW, 1).await, "{quota}");
    }
}

/// Looks under one set of numbers used to cut, or to begin anew, what was used under others.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_denial_under_other_numbers_lasts_as_long_as_it_says_and_forgets_nothing() {
    let server = Server::shared();
    let admin = server.admin().await;
    let kind = prop_oneof![Just("gcra"), Just("log"), Just("ring"), Just("calendar")];
    let quota = || {
        (1..200_u32, 1..5_000_000_u64, 1..200_u32).prop_map(|(permits, window, burst)| {
            Quota::new(permits, Duration::from_micros(window)).burst(burst)
        })
    };
    let fractions = (0..1_001_u64, 0..1_001_u64, 1..1_001_u64);
    check(
        150,
        (kind, quota(), quota(), fractions),
        async |(kind, before, after, (used, pause, cost))| {
            let (old, new) = (Policy::named(kind, before), Policy::named(kind, after));
            let (had, has) = (old.limit(), new.limit());
            let script = Script::new(&admin, [old]);
            let used = (had * used).div_ceil(1_000);
            prop_assert!(script.take(NOW, used).await.admitted);
            let other = script.with(new);
            // At once each of the used permits counts; on the calendar, if it is in the window.
            let answer = other.ask(NOW, [0, 0], "look").await;
            let level = answer.policies[0][1] as u64;
            let level = if kind == "gcra" {
                level.div_ceil(other.policies[0].0.numbers[0])
            } else {
                level
            };
            let begins = |quota| NOW - NOW % micros(quota);
            if kind != "calendar" || begins(after) <= begins(before) {
                prop_assert_eq!(level.min(has), used.min(has));
            }

            let now = NOW + micros(before) * pause / 1_000;
            let cost = (has * cost).div_ceil(1_000);
            let answer = other.take(now, cost).await;
            if !answer.admitted {
                let [_, level, wait, ..] = answer.policies[0];
                let wait = match kind {
                    "gcra" => after.rate().wait(level as u64, cost).unwrap(),
                    _ => wait as u64,
                };
                prop_assert!(
                    other.fits(now + wait, cost).await,
                    "{} {} {} {}",
                    kind,
                    before,
                    after,
                    wait
                );
            }
            Ok(())
        },
    );
}

/// What the slower numbers say is owed is not cut by a look under the faster ones, nor the other way round.
#[tokio::test]
async fn a_look_under_numbers_that_come_back_later_stores_nothing() {
    let server = Server::shared();
    let admin = server.admin().await;
    for kind in ["gcra", "ring", "calendar"] {
        let script = Script::new(&admin, [Policy::named(kind, Quota::per_minute(50))]);
        assert!(script.take(NOW, 20).await.admitted);
        let stored = script.stored().await;
        for quota in [Quota::per_hour(5), Quota::per_minute(5), Quota::per_day(21)] {
            let other = script.with(Policy::named(kind, quota));
            assert!(!other.take(NOW, 5).await.admitted, "{kind}");
            assert_eq!(script.stored().await, stored, "{kind}");
        }
        // Permits come back from what is stored, and not from what these numbers can hold of it.
        script
            .with(Policy::named(kind, Quota::per_minute(5)))
            .refund(NOW, 3, 0)
            .await;
        assert!(script.fits(NOW, 33).await, "{kind}");
        assert!(!script.fits(NOW, 34).await, "{kind}");
    }
}

/// What is in the place of the numbers and is none counts as nothing that can be read, and harms nobody.
#[tokio::test]
async fn marks_that_are_none() {
    let server = Server::shared();
    let admin = server.admin().await;
    for rest in [
        "0",
        "00",
        "09999",
        "0000000",
        "0001010110",
        "099999123",
        "00101100",
        "0123456789012345678901234567890",
    ] {
        let script = Script::new(&admin, [Policy::named("gcra", Quota::per_minute(10))]);
        let value = format!("{}:{rest}", NOW + 6_000_000);
        let _: String = command(&admin, "SET", &[&script.policies[0].1, &value]).await;
        let answer = script.take(NOW, 1).await;
        assert!(answer.granted <= 1, "{rest}: {answer:?}");
        let answer = script.take(NOW + 60_000_000, 10).await;
        assert!(answer.admitted, "{rest}: {answer:?}");
    }
}

/// A shorter lease of the same name used to cut the places of a longer one short.
#[tokio::test]
async fn a_place_keeps_the_lease_that_it_was_taken_with() {
    let server = Server::shared();
    let admin = server.admin().await;
    let places = |lease: u64| Policy {
        kind: "places",
        numbers: [2, lease, 0],
        mark: Some(format!("abc:{lease:x}:{lease}")),
        shadow: false,
    };
    let long = Script::new(&admin, [places(60_000_000)]);
    assert!(long.take(NOW, 1).await.admitted);
    let short = long.with(places(1_000_000));
    assert!(short.take(NOW, 1).await.admitted);
    assert!(!short.fits(NOW, 1).await);
    // The short one is over, the long one is not.
    for later in [1_000_000, 59_999_999] {
        assert_eq!(
            short.ask(NOW + later, [1, 1], "look").await.policies[0][1],
            1
        );
    }
    assert_eq!(
        short.ask(NOW + 60_000_000, [1, 1], "look").await.policies[0][1],
        0
    );
    // From a clock that was set back: each for as long as its own lease.
    assert!(long.take(NOW + 3_600_000_000, 1).await.admitted);
    assert_eq!(short.ask(NOW, [1, 1], "look").await.policies[0][1], 1);
    assert_eq!(
        short.ask(NOW + 59_999_999, [1, 1], "look").await.policies[0][1],
        1
    );
    assert_eq!(
        short.ask(NOW + 60_000_000, [1, 1], "look").await.policies[0][1],
        0
    );
}
