//! Everything as a Redis user that may do no more than the README says, and needs all of it.

use std::time::Duration;

use axum::{Router, routing::get};
use http::header;
use tower::{Layer, ServiceExt};
use tower_fred::{
    CacheLayer, Error, Redis, Session, SessionLayer,
    cache::Purge,
    fred::{clients::Client, interfaces::KeysInterface, types::Value},
    memo::Memo,
    rate_limit::{Algorithm, Policy, Quota, RateLimiter},
    session::SessionStore,
};

use crate::{
    compose,
    support::{
        Server,
        http::HttpServer,
        keys::assert_ours_and_bounded,
        server::until_served,
        topology::{Cluster, Sentinels, run},
    },
};

#[tokio::test]
async fn everything_runs_as_the_user_of_the_readme_and_needs_all_of_its_commands() {
    let server = Server::start();
    let admin = server.admin().await;
    let user = User::named("shop");
    user.create(&admin, &[]).await;

    let url = format!("redis://{}127.0.0.1:{}", user.credentials(), server.port());
    let redis = shop(&url).await;
    use_everything(&redis).await;
    compose::check_all_three(&redis, "least privilege").await;

    assert_nothing_was_refused(&admin).await;
    assert_ours_and_bounded(std::slice::from_ref(&admin), "shop").await;
    assert_all_ran(&user.rules, &[admin]).await;
}

#[tokio::test]
async fn the_user_of_the_readme_reaches_no_key_outside_the_namespace() {
    let server = Server::start();
    let admin = server.admin().await;
    let user = User::named("shop");
    user.create(&admin, &[]).await;
    let _: () = admin
        .set("shopping:list", "milk", None, None, false)
        .await
        .expect("set");

    let url = format!("redis://{}127.0.0.1:{}", user.credentials(), server.port());
    let redis = shop(&url).await;
    let client = redis.client();
    for key in ["shopping:list", "shop", "other:key"] {
        let read = client.get::<Value, _>(key).await.expect_err("refused");
        assert!(read.details().starts_with("NOPERM"), "{key}: {read}");
        let delete = client.del::<Value, _>(key).await.expect_err("refused");
        assert!(delete.details().starts_with("NOPERM"), "{key}: {delete}");
    }
    for (command, arguments) in [
        ("FLUSHALL", &[][..]),
        ("KEYS", &["*"]),
        ("SCAN", &["0"]),
        ("CONFIG", &["GET", "*"]),
        ("ACL", &["LIST"]),
        ("PUBLISH", &["shopping:x", "y"]),
        ("SUBSCRIBE", &["shopping:x"]),
        ("EVAL", &["return redis.call('GET', 'shopping:list')", "0"]),
    ] {
        let result = run::<Value>(&client, command, arguments).await;
        let error = result.expect_err(command).details().to_owned();
        assert!(
            error.contains("permissions") || error.contains("can't access"),
            "{error}"
        );
    }

    let elsewhere = Redis::builder().namespace("other").connect(&url);
    let store = SessionStore::new(elsewhere.await.expect("a handle"));
    let error = store.create(&serde_json::json!({})).await;
    let error = error.expect_err("another namespace");
    assert!(error.is_auth(), "{error:?}");
}

#[tokio::test]
async fn a_database_with_a_number_needs_what_the_readme_says() {
    let server = Server::start();
    let admin = server.admin().await;
    let user = User::named("shop");
    user.create(&admin, &more("a database")).await;
    let url = format!(
        "redis://{}127.0.0.1:{}/3",
        user.credentials(),
        server.port()
    );
    compose::check_all_three(&shop(&url).await, "a database").await;
    assert_nothing_was_refused(&admin).await;
    assert_all_ran(&more("a database"), &[admin]).await;
    assert_ours_and_bounded(&[server.admin_of(3).await], "shop").await;
}

#[tokio::test]
async fn a_cluster_needs_what_the_readme_says() {
    let cluster = Cluster::start().await;
    let user = User::named("shop");
    for admin in cluster.admins() {
        user.create(admin, &more("a cluster")).await;
    }
    let redis = shop(&cluster.url_with(&user.credentials())).await;
    compose::check_all_three(&redis, "a cluster").await;
    for admin in cluster.admins() {
        assert_nothing_was_refused(admin).await;
    }
    assert_all_ran(&more("a cluster"), cluster.admins()).await;
    assert_ours_and_bounded(cluster.primaries(), "shop").await;
}

#[tokio::test]
async fn sentinels_need_what_the_readme_says() {
    let sentinels = Sentinels::start().await;
    let (user, watcher) = (User::named("shop"), User::named("watcher"));
    let mut admins = Vec::new();
    for server in &sentinels.servers {
        admins.push(server.admin().await);
        user.create(admins.last().expect("an admin"), &more("sentinels"))
            .await;
    }
    for sentinel in &sentinels.sentinels {
        admins.push(sentinel.admin().await);
        watcher.create(admins.last().expect("an admin"), &[]).await;
    }
    let url = sentinels.url_with(&user.credentials(), "");
    let (name, password) = (&watcher.name, &watcher.password);
    let redis = shop(&format!(
        "{url}&sentinelUsername={name}&sentinelPassword={password}"
    ))
    .await;
    until_served(&redis).await;
    compose::check_all_three(&redis, "sentinels").await;
    // Which sentinel the handle listens to is for the handle to choose.
    while !is_listened_to(&admins[3..], &watcher.name).await {
        for admin in &admins {
            assert_nothing_was_refused(admin).await;
        }
        tokio::task::yield_now().await;
    }
    for admin in &admins {
        assert_nothing_was_refused(admin).await;
    }
    assert_all_ran(&more("sentinels"), &admins[..3]).await;
}

async fn is_listened_to(sentinels: &[Client], user: &str) -> bool {
    for sentinel in sentinels {
        let list: String = run(sentinel, "CLIENT", &["LIST"]).await.expect("a list");
        let user = format!(" user={user} ");
        let mut lines = list.lines();
        if lines.any(|line| line.contains(" sub=1 ") && line.contains(&user)) {
            return true;
        }
    }
    false
}

/// A user as an `ACL SETUSER` line of the README describes it.
struct User {
    name: String,
    password: String,
    rules: Vec<String>,
}

impl User {
    fn named(name: &str) -> Self {
        let begin = format!("ACL SETUSER {name} ");
        let mut lines = README.lines().filter_map(|line| line.strip_prefix(&begin));
        let rules: Vec<String> = lines
            .next()
            .expect("a line of the README")
            .split(' ')
            .map(String::from)
            .collect();
        let password = rules.iter().find_map(|rule| rule.strip_prefix('>'));
        Self {
            name: name.into(),
            password: password.expect("a password").into(),
            rules,
        }
    }

    fn credentials(&self) -> String {
        format!("{}:{}@", self.name, self.password)
    }

    async fn create(&self, admin: &Client, more: &[String]) {
        let mut arguments = vec!["SETUSER", &self.name];
        arguments.extend(self.rules.iter().chain(more).map(String::as_str));
        let _: () = run(admin, "ACL", &arguments).await.expect("a user");
        // A sentinel has no such statistics.
        let _ = run::<Value>(admin, "CONFIG", &["RESETSTAT"]).await;
    }
}

/// Asserts that each command of `rules` ran on one of these servers since the user was made: none is there in vain.
/// Waits for those that run after the response.
async fn assert_all_ran(rules: &[String], admins: &[Client]) {
    let commands: Vec<&str> = rules
        .iter()
        .filter_map(|rule| rule.strip_prefix('+'))
        .collect();
    for asked in 0..10_000 {
        let mut idle = commands.clone();
        for admin in admins {
            let info: String = run(admin, "INFO", &["commandstats"]).await.expect("info");
            idle.retain(|command| {
                // Those that ask are not what is meant.
                let own = if *command == "info" { asked } else { 0 };
                calls(&info, command) <= own
            });
        }
        if idle.is_empty() {
            return;
        }
        assert!(asked < 9_999, "never ran: {idle:?}");
        tokio::task::yield_now().await;
    }
}

fn calls(info: &str, command: &str) -> u64 {
    let line = format!("cmdstat_{command}:calls=");
    let calls = info.lines().find_map(|found| found.strip_prefix(&line));
    calls
        .and_then(|rest| rest.split(',').next())
        .map_or(0, |calls| calls.parse().expect("a number"))
}

/// The rules that the README adds for another deployment.
fn more(deployment: &str) -> Vec<String> {
    let begin = format!("- {deployment}");
    let mut lines = README.lines().filter(|line| line.starts_with(&begin));
    let line = lines.next().expect("a line of the README");
    let rules = line.split('`').nth(1).expect("rules");
    rules.split(' ').map(String::from).collect()
}

async fn shop(url: &str) -> Redis {
    let builder = Redis::builder().namespace("shop");
    builder.connect(url).await.expect("a handle")
}

/// An entry tells command, key and script.
async fn assert_nothing_was_refused(admin: &Client) {
    let log: Vec<Value> = run(admin, "ACL", &["LOG"]).await.expect("a log");
    assert!(log.is_empty(), "{log:#?}");
}

/// All that the objects do, and what the layers do besides the stack of all three.
async fn use_everything(redis: &Redis) {
    redis.ping().await.expect("a sign of life");
    use_memo(redis).await;
    use_limiter(redis).await;
    use_sessions(redis).await;
    use_layers(redis).await;
}

async fn use_memo(redis: &Redis) {
    let memo = Memo::new(redis.clone(), "numbers", Duration::from_secs(60));
    let loaded: Result<u8, Error> = memo.get_or_try_set(1, async || Ok(7)).await;
    assert_eq!(loaded.expect("a value"), 7);
    memo.set(2, &8).await.expect("kept");
    assert_eq!(memo.get(2).await.expect("an answer"), Some(8));
    memo.get_many(0..9).await.expect("an answer");
    assert!(memo.invalidate(2).await.expect("an answer"));
}

async fn use_limiter(redis: &Redis) {
    let limiter = RateLimiter::new(redis.clone(), Quota::per_hour(1));
    assert!(limiter.check("ada").await.expect("a decision").is_allowed());
    assert!(!limiter.check("ada").await.expect("a decision").is_allowed());

    let windows = [
        Policy::new("log", Quota::per_hour(9)).algorithm(Algorithm::SlidingLog),
        Policy::new("ring", Quota::per_hour(9)).algorithm(Algorithm::SlidingWindow),
        Policy::new("calendar", Quota::per_hour(9)).algorithm(Algorithm::CalendarWindow),
        Policy::concurrency("places", 2),
    ];
    let limiter = RateLimiter::new(redis.clone(), windows);
    let place = limiter.check_n("ada", 2).await.expect("a decision");
    assert!(place.is_allowed());
    limiter.refund("ada", 1).await.expect("an answer");
    limiter.reset("ada").await.expect("an answer");
}

async fn use_sessions(redis: &Redis) {
    let store = SessionStore::new(redis.clone());
    let fields = serde_json::json!({ "theme": "dark" });
    let token = store.create_for("ada", &fields).await.expect("a session");
    let value = token.cookie_value();
    // Its use is noted, and then its idle time is over.
    let brief = store.clone().idle_timeout(Duration::from_millis(1));
    while brief.load(&value).await.expect("an answer").is_some() {}
    let token = store.create_for("ada", &fields).await.expect("a session");
    let value = token.cookie_value();
    assert_eq!(store.list("ada").await.expect("a list").len(), 1);
    let loads = tokio::join!(store.load(&value), store.load(&value), store.load(&value));
    assert!(loads.0.is_ok() && loads.1.is_ok() && loads.2.is_ok());
    let revoked = store.revoke_others("ada", &token.id()).await;
    assert_eq!(revoked.expect("an answer"), 0);
    assert!(store.destroy(&value).await.expect("an answer"));
    use_the_end_of_a_session(redis).await;
}

/// Waiting for the end subscribes, and ending publishes.
///
/// Of a user whose sessions were not revoked yet: a login shortly after a revocation may be refused.
async fn use_the_end_of_a_session(redis: &Redis) {
    let layer = SessionLayer::new(redis.clone());
    let cookie = layer.login_cookie("eve", &serde_json::json!({})).await;
    let service = layer.layer(tower::service_fn(async |request: http::Request<String>| {
        let session = request.extensions().get::<Session>().expect("a session");
        let mut response = http::Response::new(());
        response.extensions_mut().insert(session.clone());
        Ok::<_, std::convert::Infallible>(response)
    }));
    let mut request = http::Request::new(String::new());
    request
        .headers_mut()
        .insert(header::COOKIE, cookie.expect("a cookie"));
    let response = service.oneshot(request).await.expect("a response");
    let session = response
        .extensions()
        .get::<Session>()
        .expect("a session")
        .clone();
    assert!(session.is_alive().await.expect("an answer"));
    let waiting = tokio::spawn(async move { session.ended().await });
    tokio::task::yield_now().await;
    layer.store().revoke_all("eve").await.expect("an answer");
    waiting.await.expect("the end");
}

async fn use_layers(redis: &Redis) {
    let http = HttpServer::axum(app(redis)).await;
    for language in ["en", "de"] {
        // The answer is stored just after its last byte.
        while !http
            .get("/page", &[("accept-language", language)])
            .await
            .headers()
            .contains_key(header::AGE)
        {}
    }
    let purge = Purge::new(redis.clone());
    let url = http.url("/page").parse().expect("a URL");
    purge.url(&url).await.expect("an answer");

    let mut cookie = String::new();
    for path in ["/enter", "/change", "/change", "/leave"] {
        let answer = http.get(path, &[("cookie", &cookie)]).await;
        assert!(answer.status().is_success(), "{path}: {answer:?}");
        if let Some(set) = answer.headers().get(header::SET_COOKIE) {
            let set = set.to_str().expect("text");
            cookie = set.split(';').next().unwrap_or_default().to_owned();
        }
    }
}

fn app(redis: &Redis) -> Router {
    let fields = [
        (header::CACHE_CONTROL, "max-age=60"),
        (header::VARY, "accept-language"),
    ];
    let enter = async |session: Session| {
        session.insert("theme", "dark")?;
        session.login("ada")
    };
    let change = async |session: Session| {
        session.incr("clicks", 1).await?;
        session.remove("theme");
        session.rotate();
        session.insert("visits", &1)
    };
    let leave = async |session: Session| session.logout();
    Router::new()
        .route("/page", get(async move || (fields, "a page")))
        .route("/enter", get(enter))
        .route("/change", get(change))
        .route("/leave", get(leave))
        .layer(SessionLayer::new(redis.clone()))
        .layer(CacheLayer::new(redis.clone()))
}

const README: &str = include_str!("../../README.md");
