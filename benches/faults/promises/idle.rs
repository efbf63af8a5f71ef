//! A proxy that cuts idle connections, and requests that come at about the time of the cut.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tower_fred::{
    Redis,
    rate_limit::{Quota, RateLimiter},
};

use super::page::{Answer, Pages};
use crate::{
    case::Case,
    downs::Downs,
    observed::DEADLINE,
    support::{Server, faults::idle::IdleRelay, server::handle_with},
};

pub(crate) async fn suffer(name: &'static str) -> Case {
    let server = Server::start();
    let relay = IdleRelay::start(server.port(), LIMIT).await;
    let handles: Vec<Redis> = join_all((0..HANDLES).map(|_| {
        let url = relay.url();
        async move { handle_with(&url, |builder| builder.deadline(DEADLINE)).await }
    }))
    .await;
    let nodes: Vec<Node> = join_all(
        handles
            .iter()
            .enumerate()
            .map(async |(number, redis)| Node::start(redis, number % 2 == 0).await),
    )
    .await;
    let mut case = Case::begin(name);
    let (begun, mut asked, mut failed) = (relay.cuts(), 0, 0);
    for round in 0..ROUNDS {
        // Before, at and after the cut.
        let answers = join_all(nodes.iter().enumerate().map(async |(number, node)| {
            let step = u32::try_from((round * nodes.len() + number) % STEPS).unwrap_or(0);
            sleep(node.idle() - EARLY + STEP * step).await;
            node.is_served().await
        }));
        for is_served in answers.await {
            asked += 1;
            failed += usize::from(!is_served);
        }
    }
    case.promise(failed == 0, format!("{failed} of {asked} requests failed"));
    let downs: usize = nodes.iter().map(|node| node.downs.count()).sum();
    case.promise(downs == 0, format!("{downs} times down"));
    let cuts = relay.cuts() - begun;
    // fred writes one line for each connection that it has lost.
    let (own, freds) = (case.lines().own(), case.lines().of_fred());
    case.promise(
        own == 0 && freds <= cuts,
        format!("{own} lines and {freds} of fred for {cuts} cuts"),
    );

    // Nobody asks any more: what reads the log of purges closes its connection, which is then not cut again and again.
    sleep(LIMIT * 2).await;
    let before = relay.cuts();
    sleep(LIMIT * 2).await;
    let (cuts, most) = (relay.cuts() - before, nodes.len() * 2);
    let what = format!("{cuts} cuts in {:?} without requests", LIMIT * 2);
    case.promise(cuts <= most, what);
    drop(nodes);
    case
}

/// One process: a limit, or a limit and a page, over a connection of its own.
struct Node {
    pages: Option<Pages>,
    limiter: RateLimiter,
    downs: Downs,
}

impl Node {
    async fn start(redis: &Redis, has_pages: bool) -> Self {
        let pages = has_pages.then(|| Pages::new(redis, Duration::ZERO));
        if let Some(pages) = &pages {
            pages.warm(0).await;
        }
        Self {
            pages,
            limiter: RateLimiter::new(redis.clone(), Quota::per_second(1000)),
            downs: Downs::watch(redis),
        }
    }

    /// How long after a request the connection is cut. Whoever has used a page looks at the log of purges for two seconds.
    fn idle(&self) -> Duration {
        match self.pages {
            Some(_) => LIMIT + LOOKS,
            None => LIMIT,
        }
    }

    async fn is_served(&self) -> bool {
        let limit = self.limiter.check("anybody").await.is_ok();
        let Some(pages) = &self.pages else {
            return limit;
        };
        let page = timeout(DEADLINE * 3, pages.ask(0)).await;
        limit && page.is_ok_and(|(answer, _)| answer != Answer::Bypass)
    }
}

const LIMIT: Duration = Duration::from_secs(2);
const LOOKS: Duration = Duration::from_secs(2);
const HANDLES: usize = 8;
const ROUNDS: usize = 3;
/// The times of the requests of a round, around the cut.
const STEPS: usize = 24;
const STEP: Duration = Duration::from_millis(1);
const EARLY: Duration = Duration::from_millis(10);
