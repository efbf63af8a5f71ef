//! The response cache beside one GET (hits from this process and from Redis, misses, answers in part), and the memo.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, Service, service_fn};
use tower_fred::{CacheLayer, Redis, memo::Memo};

use crate::{
    baselines::{BODY, fill, page, request},
    harness::Case,
};

pub(crate) async fn cases(redis: &Redis) -> Vec<Case> {
    let cache = CacheLayer::new(redis.clone()).layer(service_fn(|_| page(Some("max-age=600"))));
    fill(&cache, &request()).await;
    let mut cases = vec![Case::service(
        "cache, hit",
        &["bare + GET"],
        cache,
        request(),
    )];
    for (size, remote, near) in SIZES {
        let layer = CacheLayer::new(redis.clone()).max_body(1 << 20);
        let service = layer.clone().layer(sized(size));
        let asked = path(&format!("/remote/{size}"));
        fill(&service, &asked).await;
        cases.push(Case::service(remote, &["bare + GET"], service, asked));

        let service = layer.near(16 << 20).layer(sized(size));
        let asked = path(&format!("/near/{size}"));
        // Twice from Redis, to be kept here.
        for _ in 0..4 {
            fill(&service, &asked).await;
        }
        cases.push(Case::service(near, &["bare handler"], service, asked));
    }
    let service = CacheLayer::new(redis.clone()).layer(sized(1024));
    fill(&service, &path("/parts")).await;
    let with = |name: &str, value: &str| {
        let mut asked = path("/parts");
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
        asked
            .headers_mut()
            .insert(name, value.parse().expect("a value"));
        asked
    };
    for (name, asked) in [
        ("cache, hit, 304", with("if-none-match", "\"a\"")),
        ("cache, hit, 206", with("range", "bytes=0-99")),
        (
            "cache, miss and store",
            with("cache-control", "no-cache, max-age=0"),
        ),
    ] {
        cases.push(Case::service(name, &["bare + GET"], service.clone(), asked));
    }
    let uncacheable = CacheLayer::new(redis.clone()).layer(service_fn(|_| page(None)));
    let asked = path("/uncacheable");
    cases.push(Case::service(
        "cache, miss, not stored",
        &["bare + GET"],
        uncacheable,
        asked,
    ));
    cases.push(memo(redis).await);
    cases
}

async fn memo(redis: &Redis) -> Case {
    let memo: Memo<String> = Memo::new(redis.clone(), "bench", Duration::from_secs(600));
    let value = move || {
        let memo = memo.clone();
        async move {
            let load = || async { Ok::<_, Infallible>(String::from_utf8_lossy(BODY).into_owned()) };
            memo.get_or_try_set("key", load)
                .await
                .unwrap_or_else(|never| match never {});
        }
    };
    value().await;
    Case::new("memo, hit", &["bare + GET"], value)
}

fn path(path: &str) -> Request<()> {
    let mut asked = request();
    *asked.uri_mut() = path.parse().expect("a path");
    asked
}

/// A handler whose answers have a body of this size.
fn sized(
    size: usize,
) -> impl Service<
    Request<Full<Bytes>>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ 'static {
    let body = Bytes::from(vec![b'x'; size]);
    service_fn(move |_| {
        let response = Response::builder()
            .header("cache-control", "max-age=600")
            .header("etag", "\"a\"")
            .body(Full::new(body.clone()))
            .expect("a response");
        async { Ok(response) }
    })
}

const SIZES: [(usize, &str, &str); 4] = [
    (200, "cache, remote hit, 200 B", "cache, near hit, 200 B"),
    (1024, "cache, remote hit, 1 KiB", "cache, near hit, 1 KiB"),
    (
        16 << 10,
        "cache, remote hit, 16 KiB",
        "cache, near hit, 16 KiB",
    ),
    (
        256 << 10,
        "cache, remote hit, 256 KiB",
        "cache, near hit, 256 KiB",
    ),
];
