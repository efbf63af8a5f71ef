//! The handle while the server is killed, stopped, or loses its scripts.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tower_fred::{
    Redis,
    fred::{
        interfaces::{ClientLike, KeysInterface, LuaInterface},
        types::Value,
    },
    rate_limit::{Quota, RateLimiter},
    redis::Health,
};

use crate::support::patiently;
use crate::support::{
    Server,
    command::run,
    proxy::Proxy,
    server::{until_served, until_up},
};

#[tokio::test]
async fn a_killed_server_is_an_unavailable_error_and_then_served_again() {
    let server = Server::start();
    let redis = server.redis().await;
    redis.ping().await.expect("a sign of life");

    server.kill();
    let error = redis.ping().await.expect_err("a dead server");
    assert!(error.is_unavailable(), "{error:?}");

    server.restart();
    until_served(&redis).await;
}

#[tokio::test]
async fn a_stopped_server_is_a_timeout_and_then_served_again() {
    let server = Server::start();
    let deadline = Duration::from_millis(50);
    let redis = server
        .redis_with(|builder| builder.deadline(deadline))
        .await;

    server.stop();
    let error = redis.ping().await.expect_err("a stopped server");
    assert!(error.is_timeout() && error.is_unavailable(), "{error:?}");

    server.resume();
    until_served(&redis).await;
}

#[tokio::test]
async fn a_layer_can_have_a_deadline_of_its_own() {
    let server = Server::start();
    let deadline = Duration::from_secs(60);
    let patient = server
        .redis_with(|builder| builder.deadline(deadline))
        .await;
    let hasty = patient
        .with_deadline(Duration::from_millis(20))
        .expect("a deadline");
    assert!(
        patient
            .with_deadline(Duration::ZERO)
            .expect_err("no deadline")
            .is_config()
    );

    server.stop();
    // The deadline of the first handle is longer than the test.
    assert!(
        hasty
            .ping()
            .await
            .expect_err("a stopped server")
            .is_timeout()
    );
    server.resume();
    patient.ping().await.expect("a sign of life");
}

#[tokio::test]
async fn a_users_own_client_is_bounded_too() {
    let server = Server::start();
    // This pool has no timeout: fred's default.
    let redis = server.pooled().await;
    server.stop();
    assert!(
        redis
            .ping()
            .await
            .expect_err("a stopped server")
            .is_timeout()
    );
    server.resume();
}

#[tokio::test]
async fn commands_in_flight_are_bounded() {
    let server = Server::start();
    let redis = server.redis_with(|builder| builder.max_in_flight(1)).await;
    server.stop();
    let (first, second) = tokio::join!(redis.ping(), redis.ping());
    assert!(first.expect_err("a stopped server").is_timeout());
    let second = second.expect_err("one too many");
    assert!(
        second.is_unavailable() && !second.is_timeout(),
        "{second:?}"
    );
    server.resume();
}

#[tokio::test]
async fn a_command_that_timed_out_does_not_run_later() {
    let server = Server::start();
    let redis = server.redis().await;
    let key = format!("{}:counter", redis.namespace());
    server.kill();
    let lost: Result<i64, _> = redis.client().incr(&key).await;
    lost.expect_err("a dead server");
    server.restart();
    until_served(&redis).await;
    let count: Option<i64> = redis.client().get(&key).await.expect("get");
    assert_eq!(count, None, "the increment ran after it had failed");
}

#[tokio::test]
async fn the_raw_client_keeps_working_after_script_flush() {
    let server = Server::start();
    let redis = server.redis().await;
    let client = redis.client();
    let sha: String = client.script_load("return 1").await.expect("a script");
    client.script_flush(false).await.expect("a flush");
    let error = client
        .evalsha::<i64, _, _, _>(sha, "k", 0)
        .await
        .expect_err("a flushed script");
    assert!(error.details().starts_with("NOSCRIPT"), "{error}");
    redis.ping().await.expect("a sign of life");
}

#[tokio::test]
async fn the_breaker_opens_answers_at_once_and_closes_by_itself() {
    let server = Server::start();
    let redis = server.redis().await;
    assert_eq!(redis.health(), Health::Up);

    server.stop();
    let outcomes = join_all((0..8).map(|_| redis.ping())).await;
    assert!(outcomes.iter().all(Result::is_err));
    until_down(&redis).await;
    let error = redis.ping().await.expect_err("an open breaker");
    assert!(error.is_unavailable() && !error.is_timeout(), "{error:?}");

    server.resume();
    // It closes although no command is sent.
    until_up(&redis).await;
    redis.ping().await.expect("a sign of life");
}

/// Regression: calls that fail at once never yielded. On a runtime with one thread no other task ran, so the connection
/// never came back.
#[tokio::test]
async fn a_caller_that_asks_again_at_once_is_served_again() {
    let server = Server::start();
    let redis = server.redis().await;
    server.stop();
    join_all((0..8).map(|_| redis.ping())).await;
    until_down(&redis).await;
    server.resume();
    // Without `until`, whose own yields would let the other tasks run.
    let begin = Instant::now();
    while redis.ping().await.is_err() {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "no other task runs"
        );
    }
}

/// fred never closes a connection that is open and gives no answers, as long as commands are written to it.
#[tokio::test]
async fn a_half_open_connection_is_made_anew() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let redis = Redis::connect(&proxy.url()).await.expect("a handle");
    redis.ping().await.expect("a sign of life");
    proxy.swallow_open_connections();
    redis.ping().await.expect_err("a black hole");
    // New connections work, so the handle must close the old one.
    until_served(&redis).await;
}

/// Regression: the refusal of a probe for which the user lacks the permission counted as no answer. The handle stayed down.
#[tokio::test]
async fn a_probe_that_is_forbidden_has_an_answer_too() {
    let server = Server::start();
    let admin = server.admin().await;
    let user = ["SETUSER", "shop", "on", ">secret", "~*", "+@all", "-ping"];
    let _: Value = run(&admin, "ACL", &user).await.expect("a user");
    let url = format!("redis://shop:secret@127.0.0.1:{}", server.port());
    let redis = Redis::connect(&url).await.expect("a handle");
    let limiter = RateLimiter::new(redis.clone(), Quota::per_day(100));

    server.stop();
    let checks = join_all((0..8).map(|_| limiter.check("anybody"))).await;
    assert!(checks.iter().all(Result::is_err));
    until_down(&redis).await;
    server.resume();
    until_up(&redis).await;
}

#[tokio::test]
async fn a_client_whose_task_ended_is_replaced_under_the_same_handle() {
    let server = Server::start();
    let redis = server.redis().await;
    let clone = redis.clone();
    // This ends the task of a fred client without a bug of fred.
    redis.client().quit().await.expect("quit");
    until_served(&redis).await;
    clone.ping().await.expect("a sign of life");
}

/// At once, but for a machine that is too busy to tell.
async fn until_down(redis: &Redis) {
    let mut health = redis.watch_health();
    let down = health.wait_for(|health| *health == Health::Down);
    patiently("a handle that is down", down)
        .await
        .expect("the handle lives");
}
