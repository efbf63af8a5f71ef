//! Each layer beside the bare handler, the handler with one GET, and the handler with one EVALSHA.
//!
//! ```text
//! make bench
//! ```
//!
//! The cases take turns in short rounds, and each figure is the median of its rounds. So other work of the machine slows
//! all cases alike: the microseconds vary from run to run, the ratios hardly. A word after `--` runs only the cases whose
//! name contains it, and their baselines. All cases take some minutes.

mod baselines;
mod cache;
mod codec;
mod harness;
mod http;
mod processes;
mod purge_delay;
mod rate_limit;
mod session;
mod stack;
mod store;

use tower_fred::Redis;

use harness::{Case, measure, report};

#[tokio::main]
async fn main() {
    let url =
        std::env::var("REDIS_URL").expect("REDIS_URL: scripts/bench starts a server and sets it");
    let redis = Redis::builder()
        .namespace(format!("bench-{}", std::process::id()))
        .connect(&url)
        .await
        .expect("a server at REDIS_URL");
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let layers = [
        rate_limit::cases(&redis).await,
        session::cases(&redis).await,
        cache::cases(&redis).await,
        stack::cases(&redis).await,
        store::cases(&redis).await,
        codec::cases(),
    ];
    let mut cases = baselines::baselines(&redis).await;
    let always = cases.len();
    cases.extend(layers.into_iter().flatten());
    let cases = Case::wanted(cases, wanted.as_deref(), always);
    let is_wanted = |name: &str| wanted.as_deref().is_none_or(|word| name.contains(word));

    println!("Ratios to the baselines of the same run; what has no size in its name is of 1 KiB.");
    println!("A target in us is for the time over the bare handler.\n");
    report(
        "one request at a time",
        &measure(&cases, 1, 300).await,
        &cases,
    );
    report(
        "64 requests at a time",
        &measure(&cases, 64, 40).await,
        &cases,
    );
    if is_wanted("near hit") {
        let mut cases = cache::on_threads(&redis).await;
        cases.extend(store::on_threads(&redis).await);
        let title = "in a loop, on one thread and on two";
        report(title, &measure(&cases, 1, 20).await, &cases);
    }
    if is_wanted("http") {
        http::compare(&redis);
    }
    if is_wanted("purge") {
        purge_delay::compare(&redis, &url).await;
    }
    if is_wanted("rate limit") {
        rate_limit::costs(&redis).await;
    }
    // Takes a minute, and opens two thousand connections.
    if wanted.as_deref() == Some("processes") {
        processes::simulate(&redis, &url).await;
    }
    // Takes a minute and some hundred megabytes of memory in the server.
    if wanted.as_deref() == Some("subjects") {
        rate_limit::memory(&redis).await;
    }
}
