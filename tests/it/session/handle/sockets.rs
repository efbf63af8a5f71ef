//! Sessions of sockets and streams, used after their responses have left.

use std::{future::Future, time::Duration};

use tokio::task::JoinHandle;
use tower_fred::{Redis, Session};

use crate::session::browser::{Browser, Keys, Place, now};
use crate::support::{Server, patiently, topology::run};

/// What a socket keeps of the request that opened it.
pub(crate) async fn open(browser: &Browser) -> Session {
    browser.visit(|session| async move { session }).await.value
}

/// A task that ends with the session.
pub(crate) fn wait(session: &Session) -> JoinHandle<()> {
    let session = session.clone();
    tokio::spawn(async move { session.ended().await })
}

/// Waits until somebody is subscribed to the ends of this namespace, so that what is published is heard.
pub(crate) async fn until_heard(keys: &Keys, redis: &Redis) {
    let channel = format!("{}:e", redis.namespace());
    patiently("a subscription", async {
        loop {
            for server in keys.servers() {
                let count: Vec<String> = run(server, "PUBSUB", &["NUMSUB", &channel])
                    .await
                    .expect("an answer");
                if count.get(1).is_some_and(|count| count != "0") {
                    return;
                }
            }
            // Between two polls.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// How each kind of use keeps a session alive that has a short idle timeout.
async fn keeps_alive<Fut>(place: &Place, used: impl Fn(Session) -> Fut)
where
    Fut: Future<Output = ()>,
{
    let (layer, _, keys) = place.stage().await;
    let layer = layer.idle_timeout(Duration::from_secs(2));
    let browser = Browser::logged_in(&layer, "alice").await;
    let socket = open(&browser).await;
    let end = now() + 5_000;
    while now() < end {
        used(socket.clone()).await;
        // The session must outlive its idle timeout of 2 seconds: only time can show it.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(keys.exists(&browser.token()).await, "hung up while in use");
}

/// Reads after the response never extended the idle time: a busy socket was hung up after the idle timeout.
#[tokio::test]
async fn use_of_a_socket_is_use_of_its_session() {
    let place = Place::server();
    tokio::join!(
        keeps_alive(&place, |socket| async move {
            assert!(socket.is_alive().await.expect("an answer"));
        }),
        keeps_alive(&place, |socket| async move {
            assert_eq!(
                socket.user().await.expect("an answer").as_deref(),
                Some("alice")
            );
        }),
        keeps_alive(&place, |socket| async move {
            assert_eq!(socket.get::<i64>("seed").await.expect("an answer"), Some(1));
        }),
        keeps_alive(&place, |socket| async move {
            socket.auth_at().await.expect("an answer");
        }),
        keeps_alive(&place, |socket| async move {
            socket.take_flashes::<String>().await.expect("an answer");
        }),
        keeps_alive(&place, |socket| async move {
            socket.incr("count", 1).await.expect("an answer");
        }),
    );
}

/// Use is noted at most once a touch interval, however busy the socket is, and nobody else's session is.
#[tokio::test]
async fn a_busy_socket_costs_a_command_or_two_per_touch_interval() {
    let server = Server::start();
    let (layer, redis, keys) = crate::session::browser::stage(&server).await;
    let browser = Browser::logged_in(&layer, "alice").await;
    let socket = open(&browser).await;
    assert_eq!(
        socket.user().await.expect("an answer").as_deref(),
        Some("alice")
    );
    let (counts, ()) = server
        .count(async {
            for _ in 0..1000 {
                assert_eq!(socket.get::<i64>("seed").await.expect("an answer"), Some(1));
            }
            redis.ping().await.expect("an answer");
        })
        .await;
    assert_eq!(counts.total(), 0, "{counts:?}");

    // Waiting is no use.
    keys.live_for(&browser.token(), 5 * 60_000).await;
    let waiting = wait(&socket);
    until_heard(&keys, &redis).await;
    assert!(keys.left(&browser.token()).await <= 5 * 60_000);
    waiting.abort();
}
