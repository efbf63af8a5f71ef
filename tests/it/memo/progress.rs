//! Loads that make no progress, fail, or run in the background: what they mean for those who wait.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{
    future::{join_all, pending},
    poll,
};
use tokio::{
    sync::{Barrier, Notify, Semaphore},
    time::{sleep, timeout},
};
use tower_fred::{Redis, fred::interfaces::KeysInterface, memo::Memo};

use super::begun;
use crate::{
    cache::patient,
    support::{Server, process, topology::Cluster},
};

const MINUTE: Duration = Duration::from_secs(60);
const MS: Duration = Duration::from_millis(1);

fn memo(redis: &Redis) -> Memo<u32> {
    Memo::new(redis.clone(), "numbers", MINUTE)
}

/// How often something happened, and how often at once.
#[derive(Clone, Default)]
struct Gauge(Arc<[AtomicUsize; 3]>);

impl Gauge {
    fn enter(&self) -> usize {
        let [total, now, most] = &*self.0;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        total.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn leave(&self) {
        self.0[1].fetch_sub(1, Ordering::SeqCst);
    }

    fn total(&self) -> usize {
        self.0[0].load(Ordering::SeqCst)
    }

    fn most(&self) -> usize {
        self.0[2].load(Ordering::SeqCst)
    }
}

/// A call whose load never ends, polled until that has begun and then no more.
async fn leave_behind(memo: &Memo<u32>, key: u32) -> impl Future<Output = u32> {
    let (memo, start) = (memo.clone(), Arc::new(Notify::new()));
    let started = Arc::clone(&start);
    let mut call = Box::pin(async move {
        memo.get_or_set(key, async || {
            started.notify_one();
            pending().await
        })
        .await
    });
    begun(&mut call, &start).await;
    call
}

/// They waited for 10 s, or 20 s in the same process.
async fn nobody_waits_for_a_load_that_is_not_polled(one: &Redis, other: &Redis) {
    let (near, far) = (memo(one), memo(other));
    for (key, followers) in [(1, vec![&near]), (2, vec![&far]), (3, vec![&near, &far])] {
        let left = leave_behind(&near, key).await;
        let loads = Gauge::default();
        let calls = followers.iter().flat_map(|memo| vec![*memo; 30]);
        let calls = calls.map(|memo| {
            memo.get_or_set(key, async || {
                loads.enter();
                sleep(100 * MS).await;
                2
            })
        });
        let began = Instant::now();
        assert!(join_all(calls).await.into_iter().all(|value| value == 2));
        assert!(began.elapsed() < Duration::from_secs(6), "{key}");
        assert!(loads.total() <= followers.len(), "{}", loads.total());
        drop(left);
    }
}

#[tokio::test]
async fn nobody_waits_for_long_for_a_load_that_is_not_polled() {
    let server = Server::shared();
    let (one, builder) = (patient(&server).await, Redis::builder());
    let builder = builder.namespace(one.namespace()).deadline(MINUTE);
    let other = builder.connect(&server.url()).await.expect("a handle");
    nobody_waits_for_a_load_that_is_not_polled(&one, &other).await;
}

#[tokio::test]
async fn nobody_waits_for_long_for_a_load_that_is_not_polled_in_a_cluster() {
    let cluster = Cluster::start().await;
    let (one, other) = (cluster.redis().await, cluster.redis().await);
    let (one, other) = (one.with_deadline(MINUTE), other.with_deadline(MINUTE));
    let (one, other) = (one.expect("a deadline"), other.expect("a deadline"));
    nobody_waits_for_a_load_that_is_not_polled(&one, &other).await;
}

/// The followers of one that leaves were given the lead in turn, also those that nobody polls.
#[tokio::test]
async fn who_waits_and_is_not_polled_holds_nobody_up() {
    let server = Server::shared();
    let memo = memo(&patient(&server).await);
    let left = leave_behind(&memo, 7).await;
    let mut others: Vec<_> = (0..10)
        .map(|_| Box::pin(memo.get_or_set(7, pending)))
        .collect();
    for other in &mut others {
        assert!(poll!(other).is_pending());
    }
    drop(left);
    let value = timeout(Duration::from_secs(5), memo.get_or_set(7, async || 2)).await;
    assert_eq!(value, Ok(2));
}

#[tokio::test]
async fn a_load_that_is_polled_keeps_all_waiting_however_long_it_takes() {
    let server = Server::shared();
    let redis = patient(&server).await;
    for (one, other) in [(memo(&redis), memo(&redis)), {
        let memo = memo(&redis);
        (memo.clone(), memo)
    }] {
        let loads = Gauge::default();
        let key = Arc::as_ptr(&loads.0) as usize;
        let load = async || {
            loads.enter();
            // Longer than three leases live.
            sleep(3500 * MS).await;
            1
        };
        let leader = one.get_or_set(key, load);
        let follower = async {
            sleep(300 * MS).await;
            other.get_or_set(key, load).await
        };
        assert_eq!(tokio::join!(leader, follower), (1, 1));
        assert_eq!(loads.total(), 1);
    }
}

#[tokio::test]
async fn what_a_late_leader_finds_is_used() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let (near, far) = (memo(&redis), memo(&redis));
    let (start, go) = (Notify::new(), Notify::new());
    let mut late = Box::pin(near.get_or_set(7, async || {
        start.notify_one();
        go.notified().await;
        1
    }));
    begun(&mut late, &start).await;
    // It takes over and finds nothing.
    let taken = Notify::new();
    let mut second = Box::pin(near.get_or_set(7, async || {
        taken.notify_one();
        pending().await
    }));
    timeout(Duration::from_secs(6), begun(&mut second, &taken))
        .await
        .expect("it takes over");
    let (one, other) = (near.clone(), far.clone());
    let third = tokio::spawn(async move { one.get_or_set(7, async || 3).await });
    let fourth = tokio::spawn(async move { other.get_or_set(7, async || 4).await });
    go.notify_one();
    assert_eq!(late.await, 1);
    assert_eq!(third.await.expect("no panic"), 1);
    // The other process may have given up the second one by then.
    let fourth = fourth.await.expect("no panic");
    assert!([1, 4].contains(&fourth), "{fourth}");
}

#[tokio::test]
async fn nobody_waits_for_long_for_a_process_that_was_stopped_or_killed() {
    let server = Server::start();
    let admin = server.admin().await;
    for signal in ["STOP", "KILL"] {
        let mut child = process::start("memo::progress::stuck_child", &server.url());
        let _: () = admin.del("loading").await.expect("DEL");
        while !admin.exists::<bool, _>("loading").await.expect("EXISTS") {
            sleep(5 * MS).await;
        }
        let kill = |signal: &str| {
            let pid = child.id().to_string();
            let status = Command::new("kill")
                .args([&format!("-{signal}"), &pid])
                .status();
            assert!(status.expect("kill").success());
        };
        kill(signal);
        let redis = Redis::builder().namespace("stuck").deadline(MINUTE);
        let memo = memo(&redis.connect(&server.url()).await.expect("a handle"));
        let value = timeout(Duration::from_secs(6), memo.get_or_set(7, async || 2)).await;
        assert_eq!(value, Ok(2), "{signal}");
        memo.invalidate(7).await.expect("invalidated");
        kill("KILL");
        child.wait().expect("its end");
    }
}

#[tokio::test]
async fn stuck_child() {
    let Some(url) = process::input() else { return };
    let redis = Redis::builder().namespace("stuck").deadline(MINUTE);
    let redis = redis.connect(&url).await.expect("a handle");
    memo(&redis)
        .get_or_set(7, async || {
            let client = redis.client();
            let set = client.set::<(), _, _>("loading", 1, None, None, false);
            set.await.expect("SET");
            pending().await
        })
        .await;
}

#[tokio::test]
async fn a_load_of_less_than_half_a_second_costs_no_more_commands_and_a_longer_one_few() {
    let server = Server::start();
    let redis = patient(&server).await;
    let reader = memo(&redis);
    let memo = memo(&redis);
    memo.get(0).await.expect("get");
    for (key, takes, least, most) in [(1, 300, 1, 1), (2, 5, 1, 1), (3, 1600, 2, 6)] {
        let load = async || {
            sleep(takes * MS).await;
            1
        };
        let (counts, ()) = server
            .count(async {
                memo.get_or_set(key, load).await;
                while reader.get(key).await.expect("get").is_none() {}
            })
            .await;
        // The fill, and the renewals of the lease; and what the server was told of a script that it did not know.
        let scripts = counts.of("evalsha");
        assert!((least..=most).contains(&scripts), "{takes}: {counts:?}");
    }
}

/// They took turns: each waited for all before it.
#[tokio::test]
async fn nobody_takes_turns_after_a_load_that_failed() {
    const CALLERS: usize = 10;
    let server = Server::shared();
    let redis = patient(&server).await;
    let (near, far) = (memo(&redis), memo(&redis));
    let go = Notify::new();
    let first = near.get_or_try_set(7, async || {
        go.notified().await;
        Err::<u32, _>("first")
    });
    // Each of these loads ends when all of them have begun, in both processes.
    let all = Barrier::new(2 * CALLERS);
    let others = [&near, &far]
        .into_iter()
        .flat_map(|memo| vec![memo; CALLERS]);
    let others = others.map(|memo| {
        memo.get_or_try_set(7, async || {
            all.wait().await;
            Err::<u32, _>("other")
        })
    });
    let run = async {
        tokio::join!(first, join_all(others), async {
            // Until all of them wait, for Redis too.
            sleep(200 * MS).await;
            go.notify_one();
        })
    };
    let (first, others, ()) = timeout(8000 * MS, run).await.expect("all at once");
    assert_eq!(first, Err("first"));
    assert!(others.into_iter().all(|result| result == Err("other")));
    // Who comes later does not wait for them, and what is loaded then is kept.
    assert_eq!(near.get_or_set(7, async || 1).await, 1);
    timeout(MINUTE, async {
        while far.get(7).await.expect("get") != Some(1) {}
    })
    .await
    .expect("kept");
}

/// A memo with a stale value under 7.
async fn with_stale(memo: Memo<u32>) -> Memo<u32> {
    // So long that processes wait for one another.
    let load = async || {
        sleep(50 * MS).await;
        1
    };
    memo.get_or_set(7, load).await;
    while memo.get(7).await.expect("get").is_some() {
        sleep(MS).await;
    }
    memo
}

fn short_lived(redis: &Redis) -> Memo<u32> {
    Memo::new(redis.clone(), "numbers", 20 * MS).stale_if_error(MINUTE)
}

/// Each caller asked the failing source, one after the other.
#[tokio::test]
async fn while_loads_fail_one_tries_after_each_pause_and_all_others_have_the_stale_value_at_once() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let near = with_stale(short_lived(&redis).error_pause(MINUTE)).await;
    let far = short_lived(&redis).error_pause(MINUTE);
    let loads = Gauge::default();
    let fail = async || {
        loads.enter();
        sleep(100 * MS).await;
        Err::<u32, _>("away")
    };
    for memo in [&near, &near, &far, &near, &far] {
        let calls = (0..30).map(|_| memo.get_or_try_set(7, fail));
        let values = join_all(calls).await;
        assert!(values.into_iter().all(|value| value == Ok(1)));
    }
    assert_eq!(loads.total(), 1);
}

#[tokio::test]
async fn one_at_a_time_tries_again_and_nobody_waits_for_it() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let memo = with_stale(short_lived(&redis).error_pause(50 * MS)).await;
    let fail = async || Err::<u32, _>("away");
    assert_eq!(memo.get_or_try_set(7, fail).await, Ok(1));
    sleep(100 * MS).await;
    let (start, go) = (Notify::new(), Notify::new());
    let mut prober = Box::pin(memo.get_or_try_set(7, async || {
        start.notify_one();
        go.notified().await;
        Ok::<_, &str>(2)
    }));
    begun(&mut prober, &start).await;
    // It never ends while these wait, if they do.
    let never = async || -> Result<u32, &str> { panic!("one tries already") };
    let calls = (0..30).map(|_| memo.get_or_try_set(7, never));
    let values = timeout(MINUTE, join_all(calls)).await.expect("at once");
    assert!(values.into_iter().all(|value| value == Ok(1)));
    go.notify_one();
    assert_eq!(prober.await, Ok(2));
    timeout(MINUTE, async {
        while memo.get_or_try_set(7, async || Ok::<_, &str>(3)).await == Ok(1) {}
    })
    .await
    .expect("the failure is forgotten");
}

#[tokio::test]
async fn who_waited_too_long_or_could_not_look_gets_the_stale_value_too() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let memo = with_stale(short_lived(&redis).wait(50 * MS)).await;
    let other = short_lived(&redis).wait(50 * MS);
    let left = leave_behind(&memo, 7).await;
    let fail = async || Err::<u32, _>("away");
    for memo in [&memo, &other, &memo, &other] {
        assert_eq!(memo.get_or_try_set(7, fail).await, Ok(1));
    }
    drop(left);
}

/// 64 of them, and no other was ever made anew.
#[tokio::test]
async fn slow_refreshes_leave_others_their_turn() {
    const KEYS: usize = 12;
    let server = Server::shared();
    let redis = patient(&server).await;
    let memo: Memo<u32> = Memo::new(redis, "numbers", 20 * MS)
        .stale_while_revalidate(MINUTE)
        .background_refreshes(2);
    let key = |number| u32::try_from(number).expect("small");
    for number in 0..KEYS {
        memo.get_or_set(key(number), async || 1).await;
    }
    sleep(50 * MS).await;
    let (gauge, gate) = (Gauge::default(), Arc::new(Semaphore::new(0)));
    // Each key several times: it has one place.
    for number in (0..KEYS).cycle().take(3 * KEYS) {
        let (gauge, gate) = (gauge.clone(), Arc::clone(&gate));
        let load = move || async move {
            gauge.enter();
            gate.acquire().await.expect("open").forget();
            gauge.leave();
            Ok::<_, ()>(2)
        };
        assert_eq!(memo.get_or_refresh(key(number), load).await, Ok(1));
    }
    // What was made anew meanwhile needs no load.
    let last = key(KEYS - 1);
    memo.set(last, &3).await.expect("set");
    gate.add_permits(KEYS);
    timeout(MINUTE, async {
        while gauge.total() < KEYS - 1 {
            sleep(MS).await;
        }
    })
    .await
    .expect("all but one");
    sleep(100 * MS).await;
    assert_eq!((gauge.total(), gauge.most()), (KEYS - 1, 2));
}

#[tokio::test]
async fn a_refresh_that_takes_too_long_makes_room() {
    let server = Server::shared();
    let memo: Memo<u32> = Memo::new(patient(&server).await, "numbers", 20 * MS)
        .stale_while_revalidate(MINUTE)
        .background_refreshes(1)
        .refresh_limit(100 * MS);
    for number in [1, 2] {
        memo.get_or_set(number, async || 1).await;
    }
    sleep(50 * MS).await;
    let stuck = || pending::<Result<u32, ()>>();
    assert_eq!(memo.get_or_refresh(1, stuck).await, Ok(1));
    let done = Arc::new(Notify::new());
    let load = {
        let done = Arc::clone(&done);
        move || async move {
            done.notify_one();
            Ok::<_, ()>(2)
        }
    };
    assert_eq!(memo.get_or_refresh(2, load).await, Ok(1));
    timeout(MINUTE, done.notified()).await.expect("its turn");
}

/// Each caller who came after the first one had failed to look something up loaded for itself.
#[tokio::test]
async fn without_redis_callers_share_loads_whenever_they_come() {
    let server = Server::start();
    let memo = memo(&server.redis().await);
    server.kill();
    let loads = Gauge::default();
    let calls = (0..100).map(|number: u32| {
        let (memo, loads) = (memo.clone(), loads.clone());
        async move {
            sleep(number * 3 * MS).await;
            memo.get_or_set(7, async || {
                loads.enter();
                sleep(200 * MS).await;
                loads.leave();
                1
            })
            .await
        }
    });
    assert!(join_all(calls).await.into_iter().all(|value| value == 1));
    assert_eq!(loads.most(), 1);
    assert!(loads.total() <= 6, "{}", loads.total());
}
