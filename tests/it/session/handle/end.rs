//! Waiting for the end of a session.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tower_fred::{
    Redis, SessionLayer,
    fred::interfaces::{HashesInterface, KeysInterface},
    session::SessionStore,
};

use super::sockets::{open, until_heard, wait};
use crate::session::browser::{Browser, Keys, Place};
use crate::support::{Server, patiently, server::namespace, topology::run};

/// Waits until the record has been looked at since this was called: a hint makes it so.
async fn ends(what: &str, socket: JoinHandle<()>) {
    patiently(what, socket).await.expect("the end");
}

/// What ends sessions elsewhere, each on a socket of its own.
#[tokio::test]
async fn the_end_of_a_session_is_told() {
    check_the_end_is_told(&Place::server()).await;
}

pub(crate) async fn check_the_end_is_told(place: &Place) {
    let (_, redis, keys) = place.stage().await;
    // Too seldom to be what tells.
    let store = SessionStore::new(redis.clone()).check_ended_every(Duration::from_secs(3600));
    let layers = SessionLayer::over(store.clone());
    let other = SessionStore::new(other_process(place, &redis).await);

    let browser = Browser::logged_in(&layers, "alice").await;
    let socket = open(&browser).await;
    let waiting = wait(&socket);
    until_heard(&keys, &redis).await;
    browser.log_out().await.assert_removes_cookie();
    ends("a logout", waiting).await;
    assert!(!socket.is_alive().await.expect("an answer"));

    let browser = Browser::logged_in(&layers, "alice").await;
    let waiting = wait(&open(&browser).await);
    until_heard(&keys, &redis).await;
    assert_eq!(other.revoke_all("alice").await.expect("an answer"), 1);
    ends("a revocation of all by another process", waiting).await;

    let browser = Browser::logged_in(&layers, "alice").await;
    let waiting = wait(&open(&browser).await);
    until_heard(&keys, &redis).await;
    let id = open(&browser).await;
    let id = id
        .user()
        .await
        .map(|_| id.id())
        .expect("an answer")
        .expect("an answer");
    assert!(other.revoke("alice", &id).await.expect("an answer"));
    ends("a revocation by another process", waiting).await;

    // Nobody's session is over.
    let nobody = open(&Browser::new(&layers)).await;
    ends("no session", wait(&nobody)).await;
    check_another_lineage_is_told(&layers, &redis, &keys).await;
}

/// A login makes it another's, and so does a rotation.
async fn check_another_lineage_is_told(layers: &SessionLayer, redis: &Redis, keys: &Keys) {
    for login in [true, false] {
        let browser = Browser::logged_in(layers, "alice").await;
        let waiting = wait(&open(&browser).await);
        until_heard(keys, redis).await;
        browser
            .visit(move |session| async move {
                if login {
                    session.login("bob").expect("an answer");
                } else {
                    session.rotate();
                }
            })
            .await;
        ends("a new lineage", waiting).await;
    }
}

/// The same namespace through a connection of its own.
async fn other_process(place: &Place, redis: &Redis) -> Redis {
    let url = match place {
        Place::Server(server) => server.url(),
        Place::Cluster(cluster) => cluster.url(),
    };
    let builder = Redis::builder()
        .namespace(redis.namespace())
        .deadline(Duration::from_secs(10));
    builder.connect(&url).await.expect("a handle")
}

/// Neither timeout is published: the look at the known end tells.
#[tokio::test]
async fn a_timeout_is_told_when_it_comes() {
    let place = Place::server();
    for (idle, absolute) in [(500, 60_000), (60_000, 500)] {
        let (_, redis, _) = place.stage().await;
        let store = SessionStore::new(redis)
            .idle_timeout(Duration::from_millis(idle))
            .absolute_timeout(Duration::from_millis(absolute))
            .check_ended_every(Duration::from_secs(3600));
        let layer = SessionLayer::over(store);
        let browser = Browser::with_session(&layer).await;
        let socket = open(&browser).await;
        assert!(socket.is_alive().await.expect("an answer"));
        ends("a timeout", wait(&socket)).await;
        assert!(!socket.is_alive().await.expect("an answer"));
    }
}

/// The script that looks did not say that it only reads: it waited until the server took writes again.
#[tokio::test]
async fn a_timeout_is_told_while_the_server_holds_back_writes() {
    let server = Server::start();
    let store = SessionStore::new(server.redis().await)
        .absolute_timeout(Duration::from_millis(500))
        .check_ended_every(Duration::from_secs(3600));
    let (layer, admin) = (SessionLayer::over(store), server.admin().await);
    // The server has the script from the first time: one that it does not know waits like those that may write.
    for pause in [None, Some("100000")] {
        let socket = open(&Browser::with_session(&layer).await).await;
        assert!(socket.is_alive().await.expect("an answer"));
        if let Some(pause) = pause {
            let words = ["PAUSE", pause, "WRITE"];
            run::<()>(&admin, "CLIENT", &words).await.expect("a pause");
        }
        ends("a timeout", wait(&socket)).await;
    }
    run::<()>(&admin, "CLIENT", &["UNPAUSE"]).await.expect("OK");
}

/// The hint is only a hint: a record that went without a word is noticed by the slow look.
#[tokio::test]
async fn an_end_whose_hint_was_lost_is_noticed() {
    check_a_lost_hint(&Place::server()).await;
}

pub(crate) async fn check_a_lost_hint(place: &Place) {
    let (_, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis.clone()).check_ended_every(Duration::from_millis(200));
    let layer = SessionLayer::over(store);
    for rotated in [false, true] {
        let browser = Browser::with_session(&layer).await;
        let waiting = wait(&open(&browser).await);
        until_heard(&keys, &redis).await;
        let key = keys.key(&browser.token());
        if rotated {
            let pairs = [("!h", vec![7_u8; 32]), ("!v", vec![7; 32])];
            for (field, value) in pairs {
                keys.set_field(&browser.token(), field, value).await;
            }
        } else {
            keys.admin.del::<(), _>(key).await.expect("an answer");
        }
        ends("the slow look", waiting).await;
    }
}

/// Where nothing can be heard, only the looks tell: of a logout, and of a timeout.
pub(crate) async fn check_looks_alone(redis: &Redis) {
    let store = SessionStore::new(redis.clone())
        .check_ended_every(Duration::from_millis(200))
        .idle_timeout(Duration::from_secs(3));
    let layer = SessionLayer::over(store);
    let (one, other) = (
        Browser::with_session(&layer).await,
        Browser::with_session(&layer).await,
    );
    let waiting = [wait(&open(&one).await), wait(&open(&other).await)];
    one.log_out().await;
    for waiting in waiting {
        ends("the slow look", waiting).await;
    }
}

/// A hint is believed as little as its sender: who can publish can end nothing.
#[tokio::test]
async fn a_false_hint_ends_nothing() {
    let place = Place::server();
    let (layer, redis, keys) = place.stage().await;
    let browser = Browser::with_session(&layer).await;
    let socket = open(&browser).await;
    assert_eq!(socket.get::<i64>("seed").await.expect("an answer"), Some(1));
    let waiting = wait(&socket);
    until_heard(&keys, &redis).await;
    let channel = format!("{}:e", redis.namespace());
    for message in [&*socket.id().expect("an answer"), "", "\u{0}", "x"] {
        run::<i64>(&keys.admin, "PUBLISH", &[&channel, message])
            .await
            .expect("an answer");
    }
    // No event says that the wait goes on: only time can show it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    browser.log_out().await;
    ends("a logout", waiting).await;
}

/// The connection of the hints breaks, and Redis is away for a while; what ends meanwhile is noticed afterwards.
#[tokio::test]
async fn an_end_is_told_after_a_restart_of_redis() {
    let server = Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (_, redis, keys) = crate::session::browser::stage(&server).await;
    let store = SessionStore::new(redis.clone()).check_ended_every(Duration::from_secs(3600));
    let layer = SessionLayer::over(store.clone());
    let (one, other) = (
        Browser::logged_in(&layer, "alice").await,
        Browser::logged_in(&layer, "bob").await,
    );
    let (first, second) = (wait(&open(&one).await), wait(&open(&other).await));
    until_heard(&keys, &redis).await;
    server.kill();
    // An outage is not the end of a session. Only time can show that nothing happens.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!first.is_finished() && !second.is_finished());
    server.restart();
    server.wait_for_pong();
    // At once, on a connection of its own: nobody may have heard it.
    let admin = server.admin().await;
    let done: i64 = admin.del(keys.key(&one.token())).await.expect("an answer");
    assert_eq!(done, 1, "the data outlived the restart");
    ends("an end during the reconnection", first).await;
    let keys = Keys::of(&server, &redis).await;
    until_heard(&keys, &redis).await;
    patiently("a logout", async {
        while other
            .visit(|session| async move { session.logout() })
            .await
            .status
            .is_server_error()
        {}
    })
    .await;
    ends("an end after the reconnection", second).await;
}

/// Only the connection of the hints is cut, again and again.
#[tokio::test]
async fn hints_are_heard_again_after_their_connection_was_cut() {
    let server = Server::start();
    let (_, redis, keys) = crate::session::browser::stage(&server).await;
    let store = SessionStore::new(redis.clone()).check_ended_every(Duration::from_secs(3600));
    let layer = SessionLayer::over(store);
    for _ in 0..3 {
        let browser = Browser::with_session(&layer).await;
        let waiting = wait(&open(&browser).await);
        until_heard(&keys, &redis).await;
        run::<i64>(&keys.admin, "CLIENT", &["KILL", "TYPE", "pubsub"])
            .await
            .expect("an answer");
        browser.log_out().await;
        ends("a logout", waiting).await;
    }
}

/// A thousand sockets that wait, each in a loop that begins to wait anew with every message, as `select!` does.
#[tokio::test]
async fn a_thousand_waiting_sockets_cost_a_few_commands() {
    let server = Server::start();
    let (_, redis, keys) = crate::session::browser::stage(&server).await;
    let store = SessionStore::new(redis.clone());
    let layer = SessionLayer::over(store.clone());
    let mut sockets = Vec::new();
    for _ in 0..1000 {
        let browser = Browser::with_session(&layer).await;
        let socket = open(&browser).await;
        assert!(socket.is_alive().await.expect("an answer"));
        sockets.push(socket);
    }
    let waits = |times: u32| {
        join_all(sockets.iter().map(move |socket| async move {
            for _ in 0..times {
                let soon = Duration::from_millis(300);
                assert!(tokio::time::timeout(soon, socket.ended()).await.is_err());
            }
        }))
    };
    let (counts, _) = server.count(waits(5)).await;
    let sent = counts.of("evalsha") + counts.of("eval") + counts.of("subscribe");
    assert!(sent <= 40, "{counts:?}");
    assert_eq!(counts.of("subscribe"), 1, "{counts:?}");
    assert_eq!(counts.of("hgetall"), 0, "{counts:?}");
    // Everything is known: no more is asked.
    let (counts, _) = server.count(waits(5)).await;
    assert_eq!(counts.total(), 0, "{counts:?}");

    // The connection goes with the last who waits.
    let list: String = run(&keys.admin, "CLIENT", &["LIST", "TYPE", "pubsub"])
        .await
        .expect("an answer");
    assert_eq!(list.lines().count(), 1);
    sockets.clear();
    patiently("the end of the subscription", async {
        loop {
            let list: String = run(&keys.admin, "CLIENT", &["LIST", "TYPE", "pubsub"])
                .await
                .expect("an answer");
            if list.lines().count() == 0 {
                return;
            }
            // Between two polls.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A Redis user without the permission is told late, and nothing else fails.
#[tokio::test]
async fn without_permission_to_publish_or_subscribe_the_slow_look_tells() {
    let server = Server::start();
    let admin = server.admin().await;
    let rules = [
        "SETUSER",
        "shop",
        "reset",
        "on",
        ">p",
        "~*",
        "+@all",
        "resetchannels",
    ];
    run::<String>(&admin, "ACL", &rules)
        .await
        .expect("an answer");
    let redis = Redis::builder()
        .namespace(namespace())
        .connect(&format!("redis://shop:p@127.0.0.1:{}", server.port()))
        .await
        .expect("an answer");
    let (log, _guard) = crate::session::log::logged();
    let store = SessionStore::new(redis).check_ended_every(Duration::from_millis(200));
    let layer = SessionLayer::over(store.clone());
    for _ in 0..2 {
        let browser = Browser::logged_in(&layer, "alice").await;
        let waiting = wait(&open(&browser).await);
        let refused = async {
            while !log.text().contains("may not subscribe") {
                // Between two polls.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(5), refused)
            .await
            .is_err()
        {
            let list: String = run(&admin, "CLIENT", &["LIST"]).await.expect("an answer");
            panic!("{}\n{list}", log.text());
        }
        browser.log_out().await.assert_removes_cookie();
        ends("a logout", waiting).await;
    }
    let browser = Browser::logged_in(&layer, "alice").await;
    let waiting = wait(&open(&browser).await);
    assert_eq!(store.revoke_all("alice").await.expect("an answer"), 1);
    ends("a revocation", waiting).await;
    // Once for as long as somebody waits.
    assert!(
        log.text().matches("may not subscribe").count() <= 3,
        "{}",
        log.text()
    );
}

/// A socket that waits goes on over the renewals of its token, and over what the record is made of.
#[tokio::test]
async fn a_renewed_token_ends_no_wait() {
    let place = Place::server();
    let (_, redis, keys) = place.stage().await;
    let store = SessionStore::new(redis.clone())
        .renew_every(Duration::from_secs(3600))
        .check_ended_every(Duration::from_millis(50));
    let layer = SessionLayer::over(store);
    let browser = Browser::logged_in(&layer, "alice").await;
    let waiting = wait(&open(&browser).await);
    until_heard(&keys, &redis).await;
    let before = browser.token();
    keys.set_field(&before, "!n", "1").await;
    browser.get("seed").await;
    assert_ne!(browser.token(), before);
    keys.admin
        .hset::<(), _, _>(keys.key(&before), ("!g", "1"))
        .await
        .expect("an answer");
    // No event says that the wait goes on: only time can show it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    browser.log_out().await;
    ends("a logout", waiting).await;
}
