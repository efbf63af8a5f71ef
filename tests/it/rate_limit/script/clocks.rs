//! A server whose clock is set back.

use std::time::Duration;

use super::{
    harness::{NOW, Policy, Script},
    quota::Quota,
};
use crate::support::Server;

#[tokio::test]
async fn a_clock_that_is_set_back_heals_within_a_window() {
    let server = Server::shared();
    let admin = server.admin().await;
    let hour = 3_600_000_000;
    for kind in ["gcra", "log", "ring", "calendar"] {
        let policy = Policy::named(kind, Quota::per_minute(10));
        let script = Script::new(&admin, [policy]);
        assert!(script.take(NOW + hour, 10).await.admitted);
        // Nothing is forgotten, and nobody waits for the hour.
        assert!(!script.take(NOW, 1).await.admitted, "{kind}");
        // What came from the other clock used to count until that time was there again: a denial did not store it anew.
        assert!(!script.take(NOW + 1, 1).await.admitted, "{kind}");
        assert!(script.take(NOW + 61_000_000, 10).await.admitted, "{kind}");
    }
    let places = Policy {
        kind: "places",
        numbers: [1, 60_000_000, 7],
        mark: None,
        shadow: false,
    };
    let script = Script::new(&admin, [places]);
    assert!(script.take(NOW + hour, 1).await.admitted);
    assert!(!script.take(NOW, 1).await.admitted);
    assert!(script.fits(NOW + 60_000_000, 1).await);
}

/// A clock that is set back while the numbers change.
#[tokio::test]
async fn a_clock_that_is_set_back_heals_under_other_numbers() {
    let server = Server::shared();
    let admin = server.admin().await;
    let hour = 3_600_000_000;
    for kind in ["gcra", "log", "ring", "calendar"] {
        for quota in [
            Quota::per_minute(3),
            Quota::per_second(3),
            Quota::new(3, Duration::from_secs(120)),
        ] {
            let script = Script::new(&admin, [Policy::named(kind, Quota::per_minute(10))]);
            assert!(script.take(NOW + hour, 10).await.admitted);
            let other = script.with(Policy::named(kind, quota));
            for later in 0..3 {
                assert!(!other.take(NOW + later, 1).await.admitted, "{kind} {quota}");
            }
            assert!(
                other.take(NOW + 123_000_000, 3).await.admitted,
                "{kind} {quota}"
            );
        }
    }
}
