//! Common Redis commands through the shared handle. Each step is printed and checked.
//!
//! ```text
//! scripts/with-redis cargo run --example tour
//! ```

use std::{collections::HashMap, time::Duration};

use tower_fred::{
    Redis,
    fred::{
        clients::Client,
        error::Error as FredError,
        interfaces::*,
        types::{CustomCommand, Expiration, SetOptions},
    },
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379".into());
    let redis = Redis::builder().namespace("tour").connect(&url).await?;
    // The raw fred client, with all commands of Redis.
    let client = redis.client();
    // Deletes the keys of an earlier run.
    let used = [
        "greeting", "lock", "visits", "user", "jobs", "tags:a", "tags:b", "scores",
    ]
    .map(key);
    let _: i64 = client.del(used.to_vec()).await?;

    strings(&client).await?;
    counters(&client).await?;
    hashes(&client).await?;
    lists(&client).await?;
    sets(&client).await?;
    leaderboard(&client).await?;
    pipelines(&client).await?;
    pub_sub(&client).await?;
    connecting(&client, &url).await?;
    errors(&redis, &client).await?;

    let _: i64 = client.del(used.to_vec()).await?;
    println!("\nall steps as expected");
    Ok(())
}

/// Values with a time to live, values that are set only once, several values in one command.
async fn strings(client: &Client) -> Result<(), FredError> {
    heading("strings");
    let _: () = client
        .set(
            key("greeting"),
            "hello",
            Some(Expiration::EX(60)),
            None,
            false,
        )
        .await?;
    let greeting: Option<String> = client.get(key("greeting")).await?;
    let left: i64 = client.ttl(key("greeting")).await?;
    step(
        "SET EX 60, GET, TTL",
        format!("{greeting:?}, {left} s left"),
    );
    assert_eq!(greeting.as_deref(), Some("hello"));
    assert!((1..=60).contains(&left));

    let expiry = Some(Expiration::PX(5_000));
    let first: Option<String> = client
        .set(
            key("lock"),
            "me",
            expiry.clone(),
            Some(SetOptions::NX),
            false,
        )
        .await?;
    let second: Option<String> = client
        .set(key("lock"), "you", expiry, Some(SetOptions::NX), false)
        .await?;
    step("SET NX, twice", format!("{first:?}, then {second:?}"));
    assert!(first.is_some() && second.is_none());

    let values: Vec<Option<String>> = client
        .mget(vec![key("greeting"), key("lock"), key("absent")])
        .await?;
    step("MGET of three", format!("{values:?}"));
    assert_eq!(values, [Some("hello".into()), Some("me".into()), None]);
    Ok(())
}

async fn counters(client: &Client) -> Result<(), FredError> {
    heading("counters");
    let one: i64 = client.incr(key("visits")).await?;
    let eleven: i64 = client.incr_by(key("visits"), 10).await?;
    step("INCR, INCRBY 10", format!("{one}, {eleven}"));
    assert_eq!((one, eleven), (1, 11));
    Ok(())
}

async fn hashes(client: &Client) -> Result<(), FredError> {
    heading("hashes");
    let fields = HashMap::from([("name", "Ada"), ("city", "London")]);
    let _: i64 = client.hset(key("user"), fields).await?;
    let logins: i64 = client.hincrby(key("user"), "logins", 1).await?;
    let user: HashMap<String, String> = client.hgetall(key("user")).await?;
    step(
        "HSET, HINCRBY, HGETALL",
        format!("{} fields, {logins} login", user.len()),
    );
    assert_eq!(user["name"], "Ada");
    assert_eq!(user["logins"], "1");
    Ok(())
}

/// A work queue. BLPOP blocks its connection, so it has a connection of its own.
async fn lists(client: &Client) -> Result<(), FredError> {
    heading("lists");
    let worker = client.clone_new();
    worker.init().await?;
    let wait = tokio::spawn({
        let worker = worker.clone();
        async move { worker.blpop::<(String, String), _>(key("jobs"), 2.0).await }
    });
    let length: i64 = client.rpush(key("jobs"), vec!["pack", "ship"]).await?;
    let (_, job) = wait.await.expect("the worker does not panic")?;
    let rest: Vec<String> = client.lrange(key("jobs"), 0, -1).await?;
    step(
        "BLPOP waits, RPUSH of two",
        format!("got {job:?}, {rest:?} is left"),
    );
    assert!(length >= 1);
    assert_eq!((job.as_str(), rest), ("pack", vec!["ship".to_owned()]));
    worker.quit().await
}

async fn sets(client: &Client) -> Result<(), FredError> {
    heading("sets");
    let _: i64 = client.sadd(key("tags:a"), vec!["red", "round"]).await?;
    let _: i64 = client.sadd(key("tags:b"), vec!["red", "square"]).await?;
    let common: Vec<String> = client.sinter(vec![key("tags:a"), key("tags:b")]).await?;
    let is_square: bool = client.sismember(key("tags:a"), "square").await?;
    step(
        "SADD, SINTER, SISMEMBER",
        format!("{common:?} in both, square in a: {is_square}"),
    );
    assert_eq!(common, ["red"]);
    assert!(!is_square);
    Ok(())
}

async fn leaderboard(client: &Client) -> Result<(), FredError> {
    heading("sorted set: a leaderboard");
    let scores = vec![(310.0, "ada"), (250.0, "grace"), (120.0, "alan")];
    let _: i64 = client
        .zadd(key("scores"), None, None, false, false, scores)
        .await?;
    let _: f64 = client.zincrby(key("scores"), 100.0, "grace").await?;
    let top: Vec<(String, f64)> = client.zrevrange(key("scores"), 0, 1, true).await?;
    let rank: Option<i64> = client.zrevrank(key("scores"), "alan", false).await?;
    step(
        "ZADD, ZINCRBY, the first two",
        format!(
            "{top:?}, alan is number {}",
            rank.map_or(0, |rank| rank + 1)
        ),
    );
    assert_eq!(
        top,
        [("grace".to_owned(), 350.0), ("ada".to_owned(), 310.0)]
    );
    assert_eq!(rank, Some(2));
    Ok(())
}

/// Several commands in one round trip. Plain commands that are awaited together are sent together too.
async fn pipelines(client: &Client) -> Result<(), FredError> {
    heading("pipelines");
    let pipeline = client.pipeline();
    let _: () = pipeline.incr(key("visits")).await?;
    let _: () = pipeline.hget(key("user"), "name").await?;
    let (visits, name): (i64, String) = pipeline.all().await?;
    step("INCR and HGET in a pipeline", format!("{visits}, {name:?}"));
    assert_eq!((visits, name.as_str()), (12, "Ada"));

    let (greeting, members) = tokio::try_join!(
        client.get::<String, _>(key("greeting")),
        client.scard::<i64, _>(key("tags:a")),
    )?;
    step("GET and SCARD, joined", format!("{greeting:?}, {members}"));
    assert_eq!((greeting.as_str(), members), ("hello", 2));
    Ok(())
}

/// A subscription needs a connection of its own too.
async fn pub_sub(client: &Client) -> Result<(), FredError> {
    heading("publish and subscribe");
    let subscriber = client.clone_new();
    subscriber.init().await?;
    let mut messages = subscriber.message_rx();
    subscriber.subscribe(key("news")).await?;
    // fred does not wait until the server has read SUBSCRIBE. Before that, PUBLISH reaches no subscriber.
    let mut receivers = 0;
    while receivers == 0 {
        receivers = client.publish(key("news"), "sale starts").await?;
    }
    let message = messages.recv().await?;
    let text = message.value.as_string().unwrap_or_default();
    step("PUBLISH", format!("{receivers} subscriber got {text:?}"));
    assert_eq!((receivers, text.as_str()), (1, "sale starts"));
    subscriber.quit().await
}

/// With a user, a password and a database in the URL, and with several connections.
async fn connecting(client: &Client, url: &str) -> Result<(), Box<dyn std::error::Error>> {
    heading("connecting");
    let acl = CustomCommand::new_static("ACL", None, false);
    let user = vec!["SETUSER", "tour", "on", ">p@ss word", "~tour:*", "+@all"];
    let _: () = client.custom(acl.clone(), user).await?;
    let redis = Redis::connect(&with_login(url, "tour:p%40ss%20word", 1)).await?;
    let expiry = Some(Expiration::EX(5));
    let _: () = redis
        .client()
        .set(key("elsewhere"), 1, expiry, None, false)
        .await?;
    let here: Option<i64> = client.get(key("elsewhere")).await?;
    step(
        "as user `tour` in database 1",
        format!("database 0 does not see its keys: {here:?}"),
    );
    assert_eq!(here, None);
    let _: i64 = client.custom(acl, vec!["DELUSER", "tour"]).await?;

    let pooled = Redis::builder().pool_size(4).connect(url).await?;
    pooled.ping().await?;
    step("a pool", format!("{pooled:?}"));
    Ok(())
}

/// A predicate tells the kind of an error. Its text is for people.
async fn errors(redis: &Redis, client: &Client) -> Result<(), Box<dyn std::error::Error>> {
    heading("errors");
    let wrong_type: Result<i64, FredError> = client.incr(key("tags:a")).await;
    let wrong_type = wrong_type.expect_err("a set is no counter");
    step("INCR of a set", &wrong_type);

    let invalid = Redis::connect("http://localhost")
        .await
        .expect_err("not a Redis URL");
    step("a URL of another scheme", invalid.to_string());
    assert!(invalid.is_config());

    // Hardly any machine has a server on port 1.
    let refused = Redis::connect("redis://127.0.0.1:1")
        .await
        .expect_err("no server");
    step("no server", refused.to_string());
    assert!(refused.is_unavailable());

    redis.ping().await?;
    step(
        "PING",
        format!(
            "an answer within {:?}, the deadline of each command",
            redis.deadline()
        ),
    );
    assert!(redis.deadline() > Duration::ZERO);
    Ok(())
}

/// Puts credentials and a database into the URL of the same server.
fn with_login(url: &str, login: &str, database: u8) -> String {
    let (scheme, rest) = url
        .split_once("://")
        .expect("a URL that has been connected to");
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split('/').next().unwrap_or(host);
    format!("{scheme}://{login}@{host}/{database}")
}

fn key(name: &str) -> String {
    format!("tour:{name}")
}

fn heading(text: &str) {
    println!("\n{text}");
}

fn step(what: &str, outcome: impl std::fmt::Display) {
    println!("  {what:32} {outcome}");
}
