//! What the scripts decide: waits, costs, ranges of permits, shadows and refunds.

use super::{
    harness::{NOW, Policy, Script},
    quota::Quota,
};
use crate::support::Server;

const WINDOWS: [&str; 3] = ["log", "ring", "calendar"];

#[tokio::test]
async fn admitted_at_the_microsecond_and_not_before() {
    let server = Server::shared();
    let admin = server.admin().await;
    for quota in [
        Quota::per_second(3),
        Quota::per_second(7_000),
        Quota::per_minute(100).burst(1),
        Quota::per_second(1_000_000_000),
        Quota::per_second(4_000_000_000).burst(9_999),
        Quota::per_day(1),
        Quota::per_day(999_983),
    ] {
        for kind in ["gcra", "log", "ring", "calendar"] {
            let policy = Policy::new(kind, quota);
            let limit = policy.limit();
            for cost in [1, limit.div_ceil(3), limit] {
                let script = Script::new(&admin, [policy.clone()]);
                assert!(script.take(NOW, limit).await.admitted);
                let before = script.stored().await;
                let denied = script.take(NOW, cost).await;
                assert!(!denied.admitted);
                let [_, level, wait, following, reset] = denied.policies[0];
                let wait = match kind {
                    "gcra" => quota.rate().wait(level as u64, cost).unwrap(),
                    _ => {
                        // All were used at once, so all come back at once.
                        assert_eq!((following, reset), (wait, wait), "{kind}");
                        wait as u64
                    }
                };
                let context = format!("{kind} {quota} {cost}");
                assert!(
                    !script.take(NOW + wait - 1, cost).await.admitted,
                    "{context}"
                );
                assert_eq!(script.stored().await, before, "{context}");
                assert!(script.take(NOW + wait, cost).await.admitted, "{context}");
            }
        }
    }
}

#[tokio::test]
async fn a_cost_above_the_limit_never_fits() {
    let server = Server::shared();
    let admin = server.admin().await;
    for kind in WINDOWS {
        let script = Script::new(&admin, [Policy::new(kind, Quota::per_second(10))]);
        for cost in [11, u64::from(u32::MAX) + 1] {
            let answer = script.take(NOW, cost).await;
            assert!(!answer.admitted);
            assert_eq!(answer.policies[0], [0, 0, -1, 0, 0], "{kind}");
        }
        assert_eq!(script.stored().await, [None]);
    }
}

#[tokio::test]
async fn as_many_as_there_are() {
    let server = Server::shared();
    let admin = server.admin().await;
    for kind in ["gcra", "log", "ring", "calendar"] {
        let ten = Policy::new(kind, Quota::per_day(10));
        let script = Script::new(&admin, [ten, Policy::new("gcra", Quota::per_day(100))]);
        for (range, granted) in [([1, 7], 7), ([4, 9], 0), ([2, 9], 3), ([1, 9], 0)] {
            let answer = script.ask(NOW, range, "take").await;
            assert_eq!(
                (answer.admitted, answer.granted),
                (granted > 0, granted),
                "{kind}"
            );
        }
    }
}

#[tokio::test]
async fn a_shadow_counts_and_does_not_refuse() {
    let server = Server::shared();
    let admin = server.admin().await;
    for kind in ["gcra", "log", "ring", "calendar"] {
        let mut shadow = Policy::new(kind, Quota::per_day(2));
        shadow.shadow = true;
        let script = Script::new(&admin, [shadow, Policy::new("log", Quota::per_day(4))]);
        let mut seen = Vec::new();
        for _ in 0..5 {
            let answer = script.take(NOW, 1).await;
            seen.push((answer.admitted, answer.policies[0][0] == 1));
        }
        let expected = [
            (true, true),
            (true, true),
            (true, false),
            (true, false),
            (false, false),
        ];
        assert_eq!(seen, expected, "{kind}");
    }
}

#[tokio::test]
async fn a_refund_is_for_what_is_still_counted() {
    let server = Server::shared();
    let admin = server.admin().await;
    for kind in ["gcra", "log", "ring", "calendar"] {
        let script = Script::new(&admin, [Policy::new(kind, Quota::per_minute(10))]);
        assert!(script.take(NOW, 10).await.admitted);
        assert!(!script.take(NOW, 4).await.admitted);
        script.refund(NOW, 4, NOW + 1).await;
        assert!(!script.take(NOW, 5).await.admitted, "{kind}");
        assert!(script.take(NOW, 4).await.admitted, "{kind}");
        // It is back by itself already.
        script.refund(NOW, 4, NOW).await;
        assert!(!script.take(NOW, 1).await.admitted, "{kind}");
        // More than was used is all that was used.
        script.refund(NOW, 1_000_000, 0).await;
        assert!(script.take(NOW, 10).await.admitted, "{kind}");
        assert!(!script.take(NOW, 1).await.admitted, "{kind}");
    }
}
