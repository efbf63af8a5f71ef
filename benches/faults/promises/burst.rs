//! Many requests at the same moment, and nothing wrong with Redis: what waits for this process is no sign of an outage.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::{sync::Barrier, task::spawn};
use tower_fred::redis::Health;

use super::page::{Answer, Pages};
use crate::{
    case::Case,
    downs::Downs,
    observed::DEADLINE,
    support::{
        Server,
        server::until_up,
        shop::{Kind, Outcome, Shop, Visitor},
    },
};

pub(crate) async fn suffer(name: &'static str) -> Case {
    let server = Server::start();
    let redis = server
        .redis_with(|builder| builder.deadline(DEADLINE))
        .await;
    let pages = Pages::new(&redis, Duration::ZERO);
    let shop = Shop::new(&redis);
    pages.warm(0).await;
    let downs = Downs::watch(&redis);
    let runs = pages.runs();
    let mut case = Case::begin(name);
    for _ in 0..ROUNDS {
        round(&mut case, &pages, &shop).await;
        until_up(&redis).await;
    }
    let runs = pages.runs() - runs;
    case.promise(
        runs == 0,
        format!("{runs} runs of the handler of the cached page"),
    );
    let count = downs.count();
    let is_up = redis.health() == Health::Up;
    case.promise(count == 0 && is_up, format!("{count} times down"));
    case
}

async fn round(case: &mut Case, pages: &Pages, shop: &Shop) {
    // All of one page, then half of them of all layers.
    let all = join_all((0..REQUESTS).map(|_| spawn(hit(pages.clone()))));
    all.await;
    let start = std::sync::Arc::new(Barrier::new(REQUESTS));
    let others = (0..REQUESTS / 2).map(|number| {
        let kind = KINDS[number % KINDS.len()];
        let mut visitor = Visitor::new(shop.clone(), kind, number);
        let start = start.clone();
        spawn(async move {
            start.wait().await;
            visitor.ask().await.0
        })
    });
    let hits = (0..REQUESTS / 2).map(|_| {
        let (pages, start) = (pages.clone(), start.clone());
        spawn(async move {
            start.wait().await;
            hit(pages).await
        })
    });
    let (others, hits) = tokio::join!(join_all(others), join_all(hits));
    let hits: Vec<Answer> = hits
        .into_iter()
        .map(|hit| hit.expect("an answer"))
        .collect();
    let not_hit = hits.iter().filter(|hit| **hit != Answer::Hit).count();
    case.promise(
        not_hit == 0,
        format!("{not_hit} of {} hits bypassed", hits.len()),
    );
    let outcomes = others
        .into_iter()
        .map(|outcome| outcome.expect("an answer"));
    let outcomes: Vec<Outcome> = outcomes.collect();
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.is_failure())
        .count();
    let wrong = outcomes.contains(&Outcome::Wrong);
    case.promise(
        !wrong,
        format!("{failed} of {} others failed", outcomes.len()),
    );
}

async fn hit(pages: Pages) -> Answer {
    pages.ask(0).await.0
}

const REQUESTS: usize = 2000;
const ROUNDS: usize = 3;
const KINDS: [Kind; 4] = [Kind::Visit, Kind::Page, Kind::Limited, Kind::Strict];
