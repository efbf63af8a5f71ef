//! Purges stored responses and values from the command line.
//!
//! ```text
//! REDIS_URL=redis://localhost cargo run --example purge -- --namespace shop tag product:7 tag products
//! REDIS_URL=redis://localhost cargo run --example purge -- --namespace shop --soft url https://shop.example/products/7
//! REDIS_URL=redis://localhost cargo run --example purge -- --namespace shop all
//! ```
//!
//! Each purge is one command for any number of entries. All processes of the namespace learn of it at once.

use std::{env, error::Error, process::ExitCode};

use tower_fred::{Redis, cache::Purge};

#[tokio::main]
async fn main() -> ExitCode {
    match run(env::args().skip(1)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("purge: {error}\n\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

async fn run(mut words: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let mut builder = Redis::builder();
    let mut soft = false;
    let mut orders = Vec::new();
    while let Some(word) = words.next() {
        match &*word {
            "--namespace" => builder = builder.namespace(words.next().ok_or("which namespace?")?),
            "--soft" => soft = true,
            "all" => orders.push(Order::All),
            "tag" => orders.push(Order::Tag(words.next().ok_or("which tag?")?)),
            "url" => orders.push(Order::Url(words.next().ok_or("which URL?")?.parse()?)),
            other => return Err(format!("what is `{other}`?").into()),
        }
    }
    if orders.is_empty() {
        return Err("nothing to purge".into());
    }
    let url = env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379".into());
    let purge = builder.connect(&url).await?.purge();
    let purge = if soft { purge.soft() } else { purge };
    for order in &orders {
        order.carry_out(&purge).await?;
        println!("purged {order}");
    }
    Ok(())
}

enum Order {
    Tag(String),
    Url(http::Uri),
    All,
}

impl Order {
    async fn carry_out(&self, purge: &Purge) -> Result<(), tower_fred::Error> {
        match self {
            Self::Tag(tag) => purge.tag(tag).await,
            Self::Url(url) => purge.url(url).await,
            Self::All => purge.all().await,
        }
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "tag {tag}"),
            Self::Url(url) => write!(f, "url {url}"),
            Self::All => f.write_str("all"),
        }
    }
}

const USAGE: &str = "\
usage: purge [--namespace NAME] [--soft] (tag TAG | url URL | all)...

REDIS_URL is the URL of the server. NAME is the namespace that the application sets; default tower-fred.
--soft makes entries stale: where the application allows it, they are used until a new one is stored.";
