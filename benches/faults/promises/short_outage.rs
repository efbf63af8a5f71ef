//! An outage that is shorter than the patience of anybody, in the middle of a load of a memo and of a cached page: what is
//! left behind keeps nobody waiting afterwards.

use std::time::{Duration, Instant};

use tokio::{
    sync::Notify,
    task::{block_in_place, spawn},
    time::sleep,
};
use tower_fred::{Redis, memo::Memo};

use super::page::{Answer, Pages};
use crate::{
    case::Case,
    observed::DEADLINE,
    process::held_up,
    support::{
        Server,
        server::{handle_with, namespace},
    },
};

pub(crate) async fn suffer(name: &'static str) -> Case {
    let server = Server::start();
    let namespace = namespace();
    let url = server.url();
    let connect = || {
        handle_with(&url, |builder| {
            builder.namespace(namespace.clone()).deadline(DEADLINE)
        })
    };
    // As two processes.
    let (here, there) = (Node::start(&connect().await), Node::start(&connect().await));
    for node in [&here, &there] {
        // Loads are known to be slow from now on, so that one of all processes loads.
        node.ask(WARM).await;
    }
    let mut case = Case::begin(name);
    let mut slowest = [Duration::ZERO; 4];
    let mut wrong = 0;
    for (number, into) in (0..).zip(INTO_LOAD) {
        let running = here.clone();
        let running = spawn(async move { running.ask(number).await });
        tokio::join!(here.begun.notified(), here.pages.begun());
        sleep(into).await;
        block_in_place(|| server.stop());
        sleep(OUTAGE).await;
        block_in_place(|| server.resume());
        sleep(AFTER).await;
        held_up();
        let (ours, theirs) = tokio::join!(here.ask(number), there.ask(number));
        let delay = held_up();
        let running = running.await.expect("an answer");
        let took = [ours.memo, ours.page, theirs.memo, theirs.page];
        for (slowest, took) in slowest.iter_mut().zip(took) {
            *slowest = took.saturating_sub(delay).max(*slowest);
        }
        let all = [running, ours, theirs];
        wrong += all.iter().filter(|asked| !asked.is_right).count();
    }
    for (what, slowest) in WHOSE.into_iter().zip(slowest) {
        case.bound(what, slowest, LOAD + FENCE);
    }
    case.promise(wrong == 0, format!("{wrong} wrong answers"));
    case
}

/// One process, with a memo and cached pages whose loads take a while.
#[derive(Clone)]
struct Node {
    memo: Memo<u64>,
    pages: Pages,
    /// The load of the memo has begun.
    begun: std::sync::Arc<Notify>,
}

struct Asked {
    memo: Duration,
    page: Duration,
    is_right: bool,
}

impl Node {
    fn start(redis: &Redis) -> Self {
        Self {
            memo: Memo::new(redis.clone(), "numbers", Duration::from_secs(60)),
            pages: Pages::new(redis, LOAD),
            begun: std::sync::Arc::default(),
        }
    }

    /// Asks for the value and the page of this number at the same time.
    async fn ask(&self, number: u64) -> Asked {
        let value = async {
            let begun = Instant::now();
            let load = async || {
                self.begun.notify_one();
                // The work of the loader.
                sleep(LOAD).await;
                number * 7
            };
            (self.memo.get_or_set(number, load).await, begun.elapsed())
        };
        let page = self.pages.ask(usize::try_from(number).unwrap_or(0));
        let ((value, memo), (answer, page)) = tokio::join!(value, page);
        Asked {
            memo,
            page,
            is_right: value == number * 7 && answer != Answer::Wrong,
        }
    }
}

const WHOSE: [&str; 4] = [
    "memo of the owner",
    "page of the owner",
    "memo of another process",
    "page of another process",
];
const WARM: u64 = 1000;
const LOAD: Duration = Duration::from_millis(300);
const OUTAGE: Duration = Duration::from_millis(700);
/// Until then, whoever has waited has its answer.
const AFTER: Duration = Duration::from_secs(1);
/// How long the load has run when the outage begins.
const INTO_LOAD: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(290),
];
/// One look for what is there, and a tenth.
const FENCE: Duration = Duration::from_millis(275);
