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
};

use crate::support::{Server, server::namespace};

/// A handle that waits for long: a busy machine is not what these tests are about.
async fn patient(server: &Server) -> Redis {
    Redis::builder()
        .namespace(namespace())
        .deadline(Duration::from_secs(20))
        .connect(&server.url())
        .await
        .expect("a handle")
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
