//! Redis is away for a short time, or slow: what becomes of what was being made, and how long a request waits.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_fred::{CacheLayer, Redis, memo::Memo};

use crate::{
    cache::{custom, fresh, is_hit, request},
    support::{
        Server,
        proxy::{Mode, Proxy},
        server::{handle_with, namespace},
        topology::run,
    },
};

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
/// After this, nobody waits for anything but a load that runs.
const BACK: Duration = Duration::from_secs(1);
const LOAD: Duration = Duration::from_millis(300);

/// Handles of one namespace with the usual deadline, as three processes have.
async fn three(url: &str) -> [Redis; 3] {
    let name = namespace();
    let connect = async || handle_with(url, |builder| builder.namespace(&name)).await;
    [connect().await, connect().await, connect().await]
}

fn memo(redis: &Redis) -> Memo<u64> {
    Memo::new(redis.clone(), "numbers", MINUTE).tag("numbers")
}

/// A handler that takes some time, behind a cache.
pub(super) fn site(
    layer: &CacheLayer,
    calls: &Arc<AtomicUsize>,
    time: Duration,
) -> impl Service<Request<axum::body::Body>, Response = Response<Page>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ use<> {
    let calls = Arc::clone(calls);
    let handler = service_fn(move |_: Request<axum::body::Body>| {
        let calls = Arc::clone(&calls);
        async move {
            calls.fetch_add(1, Ordering::SeqCst);
            sleep(time).await;
            Ok::<_, Infallible>(fresh("page"))
        }
    });
    layer.layer(handler)
}

pub(super) type Page = tower_fred::cache::CacheBody<axum::body::Body>;

/// Whether the page was a hit.
pub(super) async fn ask<S>(site: &S) -> bool
where
    S: Service<Request<axum::body::Body>, Response = Response<Page>, Error = Infallible> + Clone,
{
    let asked = site.clone().oneshot(request("GET", "/page", &[]));
    let response = asked.await.expect("an answer");
    let is_hit = is_hit(&response);
    response.into_body().collect().await.expect("a body");
    is_hit
}

/// How Redis is away for 0.7 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    Stopped,
    /// Killed and started again with its data.
    Killed,
    /// The same without its data.
    Emptied,
}

impl Outage {
    async fn server(self) -> Server {
        let is_kept = if self == Self::Killed { "yes" } else { "no" };
        Server::start_with(&["--appendonly", is_kept, "--appendfsync", "always"])
    }

    /// Gives the time at which Redis was back.
    async fn suffer(self, server: &Server) -> Instant {
        sleep(100 * MS).await;
        match self {
            Self::Stopped => server.stop(),
            Self::Killed | Self::Emptied => server.kill(),
        }
        sleep(700 * MS).await;
        match self {
            Self::Stopped => server.resume(),
            Self::Killed | Self::Emptied => server.restart(),
        }
        Instant::now()
    }
}

/// Neither the value nor the end of the lease reached Redis, and nobody tried again: all waited for the lease to end.
#[tokio::test]
async fn what_was_made_while_redis_was_away_is_stored_when_it_is_back() {
    for outage in [Outage::Stopped, Outage::Killed, Outage::Emptied] {
        let server = outage.server().await;
        let [here, there, third] = three(&server.url()).await;
        let (near, far, third) = (memo(&here), memo(&there), memo(&third));
        for memo in [&near, &far, &third] {
            memo.get(0).await.expect("get");
        }
        let load = async || {
            sleep(LOAD).await;
            1
        };
        let (value, back) = tokio::join!(near.get_or_set(7, load), outage.suffer(&server));
        assert_eq!(value, 1);
        if outage != Outage::Emptied {
            // The purges are known that came meanwhile: it is the one that was made.
            let stored = async { while !matches!(third.get(7).await, Ok(Some(1))) {} };
            let left = BACK.saturating_sub(back.elapsed());
            timeout(left, stored).await.expect("stored");
        }
        for memo in [&near, &far] {
            let value = timeout(BACK, memo.get_or_set(7, async || 1)).await;
            assert_eq!(value, Ok(1), "{outage:?}");
        }
        // Without its data, the log is another one: the first who comes when Redis counts as up makes it again.
        let stored = async {
            while !matches!(third.get(7).await, Ok(Some(1))) {
                near.get_or_set(7, async || 1).await;
            }
        };
        timeout(BACK, stored).await.expect("stored again");
    }
}

/// The same of a cached response.
#[tokio::test]
async fn a_response_that_was_made_while_redis_was_away_is_stored_when_it_is_back() {
    for outage in [Outage::Stopped, Outage::Killed] {
        let server = outage.server().await;
        let [here, there, third] = three(&server.url()).await;
        let calls = Arc::default();
        let near = site(&CacheLayer::new(here.clone()), &calls, LOAD);
        for redis in [&here, &there, &third] {
            memo(redis).get(0).await.expect("get");
        }
        let (_, back) = tokio::join!(ask(&near), outage.suffer(&server));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        // The others have no handler that could help.
        let never = Arc::default();
        let others = [&there, &third].map(|redis| {
            let layer = CacheLayer::new(redis.clone());
            site(&layer, &never, Duration::ZERO)
        });
        // A request that is sent too early is not answered from the cache.
        let stored = async { while memo(&third).get(0).await.is_err() {} };
        timeout(BACK, stored).await.expect("back");
        sleep(BACK.saturating_sub(back.elapsed())).await;
        for one in others {
            assert!(ask(&one).await, "{outage:?}");
        }
        assert!(ask(&near).await, "{outage:?}");
    }
}

/// What was made and could not be stored is older than a purge that came meanwhile.
#[tokio::test]
async fn what_was_purged_meanwhile_is_not_stored_later() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let name = namespace();
    let here = handle_with(&proxy.url(), |builder| builder.namespace(&name)).await;
    let there = handle_with(&server.url(), |builder| builder.namespace(&name)).await;
    let (near, far) = (memo(&here), memo(&there));
    near.get(0).await.expect("get");
    let load = async || {
        proxy.set(Mode::BlackHole);
        sleep(LOAD).await;
        1
    };
    assert_eq!(near.get_or_set(7, load).await, 1);
    sleep(LOAD).await;
    there.purge().tag("numbers").await.expect("purged");
    proxy.set(Mode::Relay);
    // A value that was made later shows that the postponed ones have had their turn.
    timeout(MINUTE, async { while near.set(8, &8).await.is_err() {} })
        .await
        .expect("back");
    sleep(BACK).await;
    assert_eq!(far.get(7).await.expect("get"), None);
    let admin = server.admin().await;
    let keys: Vec<String> = custom(&admin, "KEYS", vec!["*:m:*".into()]).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
}

/// With answers just below the deadline each command and each look at the log waited for one of its own.
#[tokio::test]
async fn a_request_waits_for_one_deadline_in_all() {
    const DEADLINE: Duration = Duration::from_millis(500);
    // A busy machine needs some time too.
    const MOST: Duration = Duration::from_millis(700);
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let redis = handle_with(&proxy.url(), |builder| builder.deadline(DEADLINE)).await;
    let calls = Arc::default();
    let layer = CacheLayer::new(redis.clone());
    let page = site(&layer, &calls, Duration::ZERO);
    let near = site(&layer.near(1 << 20), &calls, Duration::ZERO);
    let memo = memo(&redis);
    for _ in 0..3 {
        ask(&near).await;
    }
    proxy.set(Mode::Delay(DEADLINE.mul_f64(0.8)));
    // Until the answers that were on their way without the delay have come.
    sleep(DEADLINE).await;
    for round in 0..4u64 {
        let began = Instant::now();
        let missed = page
            .clone()
            .oneshot(request("GET", &format!("/{round}"), &[]));
        missed.await.expect("an answer");
        assert!(began.elapsed() < MOST, "a miss: {:?}", began.elapsed());
        let began = Instant::now();
        ask(&near).await;
        assert!(began.elapsed() < MOST, "a hit: {:?}", began.elapsed());
        let began = Instant::now();
        assert_eq!(memo.get_or_set(round, async || round).await, round);
        assert!(began.elapsed() < MOST, "a memo: {:?}", began.elapsed());
    }
}

/// An eviction of the log looks like a new log: what was made before it is not used, purged or not.
#[tokio::test]
async fn when_the_log_is_evicted_no_purge_is_forgotten() {
    let server = Server::start();
    let [here, there, late] = three(&server.url()).await;
    let (near, far) = (memo(&here).near(1 << 20), memo(&there).near(1 << 20));
    let (calls, other) = (Arc::default(), Arc::default());
    let (page, other_page) = (
        site(&CacheLayer::new(here.clone()), &calls, Duration::ZERO),
        site(&CacheLayer::new(there.clone()), &other, Duration::ZERO),
    );
    near.set(1, &1).await.expect("set");
    near.set(2, &2).await.expect("set");
    for _ in 0..3 {
        assert_eq!(far.get(1).await.expect("get"), Some(1));
    }
    ask(&page).await;
    timeout(MINUTE, async { while !ask(&other_page).await {} })
        .await
        .expect("stored");
    // One purge is only in the log, and the process that made it ends with it.
    there.purge().all().await.expect("purged");
    there.purge().tag("numbers").await.expect("purged");
    let admin = server.admin().await;
    let log = format!("{}:purges", here.namespace());
    let evicted: i64 = run(&admin, "DEL", &[&log]).await.expect("DEL");
    assert_eq!(evicted, 1);
    // What a process knows may be 50 ms old.
    sleep(100 * MS).await;
    for memo in [&near, &far, &memo(&late)] {
        for number in [1, 2] {
            assert_eq!(memo.get(number).await.expect("get"), None);
        }
    }
    let before = other.load(Ordering::SeqCst);
    assert!(!ask(&other_page).await);
    assert_eq!(other.load(Ordering::SeqCst), before + 1);
    // What is made from now on is used, by all, and purged as ever.
    near.set(1, &10).await.expect("set");
    for memo in [&near, &far, &memo(&late)] {
        assert_eq!(memo.get(1).await.expect("get"), Some(10));
    }
    timeout(MINUTE, async { while !ask(&page).await {} })
        .await
        .expect("stored");
    late.purge().tag("numbers").await.expect("purged");
    let url = "http://shop.example/page".parse().expect("a URL");
    late.purge().url(&url).await.expect("purged");
    sleep(100 * MS).await;
    for memo in [&near, &far] {
        assert_eq!(memo.get(1).await.expect("get"), None);
    }
    assert!(!ask(&page).await);
}
