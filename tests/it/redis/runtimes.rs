//! A handle that is used in one runtime after another, as a static is in tests.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    CacheLayer, Redis,
    cache::Purge,
    fred::interfaces::KeysInterface,
    memo::Memo,
    rate_limit::{Quota, RateLimiter},
    redis::Health,
};

use crate::support::{
    Server, patiently,
    server::namespace,
    topology::{Cluster, Sentinels},
};

/// What an application has in statics.
struct Shop {
    redis: Redis,
    url: String,
    limiter: RateLimiter,
    names: Memo<String>,
    pages: CacheLayer,
    made: Arc<AtomicUsize>,
}

impl Shop {
    async fn open(url: String) -> Self {
        let redis = Redis::builder()
            .namespace(namespace())
            .connect(&url)
            .await
            .expect("a handle");
        Self {
            limiter: RateLimiter::new(redis.clone(), Quota::per_day(1000)),
            names: Memo::new(redis.clone(), "names", Duration::from_secs(60)),
            pages: CacheLayer::new(redis.clone()).near(1 << 20),
            made: Arc::default(),
            redis,
            url,
        }
    }

    /// The first command is answered already.
    async fn check(&self) {
        self.limiter.check("anybody").await.expect("a decision");
        self.names.set(1, &"one".to_owned()).await.expect("set");
        let name = self.names.get(1).await.expect("get");
        assert_eq!(name.as_deref(), Some("one"));
        let raw = self.redis.client();
        let key = format!("{}:raw", self.redis.namespace());
        let _: () = raw.set(key, 1, None, None, false).await.expect("set");

        let made = self.until_hit().await;
        let elsewhere = Redis::builder()
            .namespace(self.redis.namespace())
            .connect(&self.url)
            .await
            .expect("a handle");
        Purge::new(elsewhere).all().await.expect("a purge");
        patiently("a page that is made anew", async {
            while self.page().await == made {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert_eq!(self.redis.health(), Health::Up);
    }

    /// Asks until the page comes from the cache; gives its number.
    async fn until_hit(&self) -> usize {
        patiently("a hit", async {
            loop {
                let (first, second) = (self.page().await, self.page().await);
                if first == second {
                    return first;
                }
            }
        })
        .await
    }

    async fn page(&self) -> usize {
        let made = Arc::clone(&self.made);
        let service = self.pages.layer(service_fn(move |_: Request<String>| {
            let number = made.fetch_add(1, Ordering::Relaxed);
            async move {
                let response = Response::builder().header("cache-control", "max-age=60");
                Ok::<_, Infallible>(response.body(number.to_string()).expect("a response"))
            }
        }));
        let request = Request::get("http://shop.example/page")
            .body(String::new())
            .expect("a request");
        let response = service.oneshot(request).await.expect("a response");
        let body = response.into_body().collect().await.expect("a body");
        let text = String::from_utf8(body.to_bytes().to_vec()).expect("text");
        text.parse().expect("a number")
    }
}

fn runtimes() -> [Runtime; 3] {
    let many = || {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build()
    };
    let one = Builder::new_current_thread().enable_all().build();
    [many(), one, many()].map(|runtime| runtime.expect("a runtime"))
}

/// The tasks of a handle ended with their runtime, and nothing began them anew: it was Down for ever.
#[test]
fn a_handle_outlives_its_runtime() {
    let server = Server::start();
    let [first, second, third] = runtimes();
    let shop = first.block_on(Shop::open(server.url()));
    for runtime in [first, second, third] {
        runtime.block_on(shop.check());
    }
}

#[test]
fn a_handle_of_a_cluster_outlives_its_runtime() {
    let [outer, first, second] = runtimes();
    let cluster = outer.block_on(Cluster::start());
    let shop = first.block_on(Shop::open(cluster.url()));
    for runtime in [first, second] {
        runtime.block_on(shop.check());
    }
}

/// Nobody listened to the sentinels any more: a planned failover was found out about ten seconds later.
#[test]
fn a_handle_of_sentinels_outlives_its_runtime() {
    let [outer, first, second] = runtimes();
    let sentinels = outer.block_on(Sentinels::start());
    let shop = first.block_on(Shop::open(sentinels.url()));
    for runtime in [first, second] {
        runtime.block_on(shop.check());
    }
}

/// So did the task that finds out when Redis is back.
#[test]
fn an_outage_that_outlives_the_runtime_ends() {
    let server = Server::start();
    let [first, second, _] = runtimes();
    let shop = first.block_on(Shop::open(server.url()));
    server.stop();
    first.block_on(async {
        join_all((0..8).map(|_| shop.redis.ping())).await;
        let mut health = shop.redis.watch_health();
        let down = health.wait_for(|health| *health == Health::Down);
        patiently("a handle that is down", down)
            .await
            .expect("the handle lives");
    });
    drop(first);
    server.resume();
    second.block_on(async {
        patiently("an answer", async {
            while shop.redis.ping().await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        shop.check().await;
    });
}
