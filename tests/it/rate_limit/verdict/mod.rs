//! What happens to a request and its response: places, upgrades, and permits that come back.

mod concurrency;
mod returns;
mod unread_bodies;
mod upgrades;

use tower_fred::fred::clients::Client;

use crate::{
    rate_limit::{command, keys},
    support::until,
};

/// How many places are taken at the only key of a namespace.
async fn held(admin: &Client, namespace: &str) -> usize {
    match keys(admin, namespace).await.first() {
        Some(key) => command(admin, "ZCARD", &[key]).await,
        None => 0,
    }
}

/// Waits until so many are taken: a place is given back after the answer.
async fn until_held(admin: &Client, namespace: &str, places: usize) {
    until("places", async || held(admin, namespace).await == places).await;
}
