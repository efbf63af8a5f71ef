//! Redis is far away: how long a request waits for the purge log, and what it learns from it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;
use tower_fred::{CacheLayer, memo::Memo};

use super::outage::{ask, site};
use crate::support::{
    Server,
    proxy::{Mode, Proxy},
    server::{handle_with, namespace},
};

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const LATENCY: Duration = Duration::from_millis(200);
/// A busy machine needs some time too.
const MOST: Duration = Duration::from_millis(320);

/// A request that came while the log was read waited for that read and then for another one.
#[tokio::test]
async fn a_page_waits_for_one_answer_whenever_it_comes() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let patient = |builder: tower_fred::redis::RedisBuilder| builder.deadline(2 * LATENCY * 10);
    let redis = handle_with(&proxy.url(), patient).await;
    let layer = CacheLayer::new(redis.clone());
    let page = site(&layer, &Default::default(), Duration::ZERO);
    let near = site(&layer.near(1 << 20), &Default::default(), Duration::ZERO);
    for _ in 0..3 {
        ask(&near).await;
        ask(&page).await;
    }
    proxy.set(Mode::Delay(LATENCY));
    // Until the answers that were on their way without the delay have come.
    sleep(2 * LATENCY).await;
    let requests = (0..40u32).map(|number| {
        let (page, near) = (page.clone(), near.clone());
        async move {
            sleep(number * 17 * MS).await;
            let began = Instant::now();
            let is_hit = match number % 2 {
                0 => ask(&page).await,
                _ => ask(&near).await,
            };
            (number, is_hit, began.elapsed())
        }
    });
    for (number, is_hit, took) in join_all(requests).await {
        assert!(is_hit, "{number}");
        assert!(took < MOST, "{number}: {took:?}");
    }
}

/// Reads of the log that overlap, and end in any order, miss no purge that was over before a request began.
#[tokio::test]
async fn who_comes_after_a_purge_knows_it_whatever_the_latency() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let name = namespace();
    let patient = |builder: tower_fred::redis::RedisBuilder| {
        builder.namespace(&name).deadline(2 * LATENCY * 10)
    };
    let here = handle_with(&proxy.url(), patient).await;
    let there = handle_with(&server.url(), patient).await;
    let memo = |redis: &tower_fred::Redis| {
        Memo::<u32>::new(redis.clone(), "numbers", MINUTE)
            .tag("numbers")
            .near(1 << 20)
    };
    let (near, far) = (memo(&here), memo(&there));
    near.get(0).await.expect("get");
    for round in 0..8u32 {
        far.set(1, &round).await.expect("set");
        proxy.set(Mode::Relay);
        for _ in 0..3 {
            assert_eq!(near.get(1).await.expect("get"), Some(round));
        }
        // Jitter: answers to later reads may come first on another connection, never on this one.
        proxy.set(Mode::Delay((60 + 20 * (round % 3)) * MS));
        let readers = (0..20u32).map(|number| {
            let (near, there) = (near.clone(), there.clone());
            async move {
                sleep(number * 11 * MS).await;
                if number == 10 {
                    there.purge().tag("numbers").await.expect("purged");
                }
                let is_after = number == 10;
                (is_after, near.get(1).await.expect("get"))
            }
        });
        let (found, ()) = tokio::join!(join_all(readers), sleep(MS));
        for (is_after, value) in found {
            assert!(!is_after || value.is_none(), "{round}: {value:?}");
        }
        assert_eq!(near.get(1).await.expect("get"), None, "{round}");
    }
}
