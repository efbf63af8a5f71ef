//! A handle that outlives the runtime in which it was made, as in a static, and is used in the next one.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    task::{block_in_place, yield_now},
    time::timeout,
};
use tower_fred::{Redis, memo::Memo};

use crate::{
    case::Case,
    observed::DEADLINE,
    support::{
        Server,
        server::handle_with,
        shop::{Kind, Shop, Visitor},
    },
};

pub(crate) async fn suffer(name: &'static str) -> Case {
    let server = Server::start();
    block_in_place(|| {
        thread::scope(|scope| scope.spawn(|| run(name, &server)).join().expect("a case"))
    })
}

/// On a thread without a runtime.
fn run(name: &'static str, server: &Server) -> Case {
    let first = several_threads();
    let application = first.block_on(async {
        let redis = handle_with(&server.url(), |builder| builder.deadline(DEADLINE)).await;
        Application::new(&redis)
    });
    let mut case = Case::begin(name);
    first.block_on(application.serve(&mut case, 1));
    drop(first);
    // Of both kinds, and the one that was dropped before the requests of the last had an answer.
    let second = Builder::new_current_thread().enable_all().build();
    let second = second.expect("a runtime");
    second.block_on(application.serve(&mut case, 2));
    drop(second);
    let third = several_threads();
    third.block_on(application.serve(&mut case, 3));
    third.shutdown_background();
    several_threads().block_on(application.serve(&mut case, 4));
    case
}

fn several_threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let built = builder.worker_threads(2).enable_all().build();
    built.expect("a runtime")
}

struct Application {
    shop: Shop,
    memo: Memo<u64>,
}

impl Application {
    fn new(redis: &Redis) -> Self {
        Self {
            shop: Shop::new(redis),
            memo: Memo::new(redis.clone(), "numbers", Duration::from_secs(60)).near(1 << 20),
        }
    }

    /// All layers are served within a second, and go on to be. What comes after a layer that is not served is left out.
    async fn serve(&self, case: &mut Case, runtime: usize) {
        for kind in [Kind::Visit, Kind::Page, Kind::Limited, Kind::Strict] {
            let mut visitor = Visitor::new(self.shop.clone(), kind, runtime);
            let took = until_true(async || !visitor.ask().await.0.is_failure()).await;
            if !case.bound(&format!("runtime {runtime}: {kind:?}"), took, MOST) {
                return;
            }
            let mut failed = 0;
            for _ in 0..AFTERWARDS {
                failed += usize::from(visitor.ask().await.0.is_failure());
            }
            let what = format!("{failed} of {AFTERWARDS} failed afterwards");
            case.promise(failed == 0, what);
        }
        let took = until_true(async || self.memo.get(7).await.is_ok()).await;
        case.bound(&format!("runtime {runtime}: memo"), took, MOST);
        let value = self.memo.get_or_set(7, async || 49).await;
        case.promise(value == 49, format!("the memo says {value}"));
    }
}

/// How long it took until it was true, three times as long as allowed at most.
async fn until_true(mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    let wait = async {
        while !is_so().await {
            yield_now().await;
        }
    };
    let _ = timeout(MOST * 3, wait).await;
    begun.elapsed()
}

const MOST: Duration = Duration::from_secs(1);
const AFTERWARDS: usize = 20;
