//! The response cache and the memo beside one GET.

use std::{convert::Infallible, time::Duration};

use tower::{Layer, service_fn};
use tower_fred::{CacheLayer, Redis, memo::Memo};

use crate::{
    baselines::{BODY, fill, page, request},
    harness::Case,
};

pub(crate) async fn cases(redis: &Redis) -> Vec<Case> {
    let cache = CacheLayer::new(redis.clone()).layer(service_fn(|_| page(Some("max-age=600"))));
    fill(&cache, &request()).await;
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
    vec![
        Case::service("cache, hit", &["bare + GET"], cache, request()),
        Case::new("memo, hit", &["bare + GET"], value),
    ]
}
