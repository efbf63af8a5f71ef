mod decision;
mod engine;
mod layer;
mod limiter;
mod logs;
mod quota;
mod script;
mod settings;
mod subject;
mod verdict;

use std::time::Duration;

use tower_fred::{
    Redis,
    fred::{
        clients::Client,
        interfaces::ClientLike,
        types::{CustomCommand, FromValue, Value},
    },
    rate_limit::{Algorithm, RateLimiter},
};

use crate::support::{Server, topology::Cluster};

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Gcra,
    Algorithm::SlidingLog,
    Algorithm::SlidingWindow,
    Algorithm::CalendarWindow,
];

/// The deadline of a patient handle: a busy machine is not what these tests are about.
const PATIENCE: Duration = Duration::from_secs(20);

/// A handle with a long deadline.
async fn patient(server: &Server) -> Redis {
    server
        .redis_with(|builder| builder.deadline(PATIENCE))
        .await
}

/// The same over a pool of the application.
async fn patient_pool(server: &Server) -> Redis {
    let redis = server.pooled().await;
    redis.with_deadline(PATIENCE).expect("a deadline")
}

/// The same in a cluster.
async fn patient_in(cluster: &Cluster) -> Redis {
    let redis = cluster.redis().await;
    redis.with_deadline(PATIENCE).expect("a deadline")
}

/// A second handle of the same namespace, as another process has.
async fn another(server: &Server, redis: &Redis) -> Redis {
    let namespace = redis.namespace();
    server
        .redis_with(|builder| builder.namespace(namespace).deadline(PATIENCE))
        .await
}

/// How many of so many requests, one after the other, are admitted.
async fn admitted(limiter: &RateLimiter, key: &str, requests: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..requests {
        let decision = limiter.check(key).await.expect("a decision");
        admitted += usize::from(decision.is_allowed());
    }
    admitted
}

/// Any command, such as one whose arguments fred would not let us send.
async fn command<R: FromValue>(admin: &Client, name: &'static str, arguments: &[&str]) -> R {
    let arguments: Vec<Value> = arguments.iter().copied().map(Value::from).collect();
    admin
        .custom(CustomCommand::new_static(name, None, false), arguments)
        .await
        .expect(name)
}

/// The keys of a namespace.
async fn keys(admin: &Client, namespace: &str) -> Vec<String> {
    command(admin, "KEYS", &[&format!("{namespace}:*")]).await
}

/// The only key of a namespace.
async fn only_key(admin: &Client, namespace: &str) -> String {
    let mut keys = keys(admin, namespace).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    keys.remove(0)
}

/// The server's clock in microseconds since 1970.
async fn time(admin: &Client) -> u64 {
    let (seconds, micros): (u64, u64) = command(admin, "TIME", &[]).await;
    seconds * 1_000_000 + micros
}
