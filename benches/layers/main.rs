//! Each layer beside the bare handler, the handler with one GET, and the handler with one EVALSHA.
//!
//! ```text
//! make bench
//! ```
//!
//! The cases take turns in short rounds, and each figure is the median of its rounds: what else the machine does then
//! falls on all of them alike, and the ratios hold where the microseconds do not. A word after `--` runs only the cases
//! whose name has it; the baselines always run.

mod baselines;
mod cache;
mod codec;
mod harness;
mod rate_limit;
mod session;
mod stack;
mod store;

use tower_fred::Redis;

use harness::{measure, report};

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
    for case in layers.into_iter().flatten() {
        if wanted
            .as_deref()
            .is_none_or(|word| case.name.contains(word))
        {
            cases.push(case);
        }
    }

    println!("a response of 1 KiB, in process; ratios to the baselines of the same run\n");
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
}
