//! What unsafe requests of clients do to the purge log.

use std::sync::Arc;

use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};
use tower_fred::{CacheLayer, cache::Cache, fred::types::Value};

use super::{
    purge::{nodes, numbers, warm},
    until_log_is_read,
};
use crate::{
    cache::{Origin, Site, fresh, is_hit, request},
    support::{Server, topology::run},
};

/// Regression: unsafe requests to more URLs than are remembered took everything older out of use, tagged values too.
#[tokio::test]
async fn any_number_of_unsafe_requests_leaves_what_they_do_not_name() {
    let server = Arc::new(Server::start());
    let settings = |layer: CacheLayer| layer.near(1 << 20);
    let site = Site::on(server.clone(), settings, |_| fresh("x")).await;
    let memo = numbers(&site.redis);
    let tagged = numbers(&site.redis);
    memo.set(2, &2).await.expect("set");
    tagged.set(1, &1).await.expect("set");
    for path in ["/hot", "/posted"] {
        site.get(path, &[]).await;
    }
    site.redis.purge().tag("parity:1").await.expect("purged");
    let calls = site.calls();
    for number in 0..100 {
        site.send(request("POST", &format!("/never/{number}"), &[]))
            .await;
    }
    site.send(request("POST", "/posted", &[])).await;
    // Many more such records, added by a script on the server.
    let admin = server.admin().await;
    let key = format!("{}:purges", site.redis.namespace());
    let script = "
        local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
        local epoch = string.match(last[1], '^%d+')
        local function bytes(n)
          local text = redis.sha1hex(n)
          return (string.gsub(string.sub(text, 1, 16), '..', function(two) return string.char(tonumber(two, 16)) end))
        end
        for i = 1, 10000 do
          local token, tag = bytes('token' .. ARGV[1] .. i), bytes('tag' .. ARGV[1] .. i)
          redis.call('XADD', KEYS[1], epoch .. '-*', 'order', 'o' .. token .. tag, 'at', 1)
        end
        return 1";
    for part in 0..40 {
        let _: Value = run(&admin, "EVAL", &[script, "1", &key, &part.to_string()])
            .await
            .expect("records");
        // The process keeps up with them, or reports that a busy server did not answer in time.
        match memo.get(2).await {
            Ok(value) => assert_eq!(value, Some(2)),
            Err(error) => assert!(error.is_unavailable(), "{error}"),
        }
    }
    until_log_is_read().await;
    warm(&memo, [2]).await;
    assert_eq!(tagged.get(1).await.expect("get"), None);
    let hot = site.get("/hot", &[]).await;
    assert!(is_hit(&hot), "{hot:?}");
    assert_eq!(site.calls(), calls + 101);
    site.get("/posted", &[]).await;
    assert_eq!(site.calls(), calls + 102);
    // New values are found.
    let again = site.get("/posted", &[]).await;
    assert!(is_hit(&again), "{again:?}");
}

/// What unsafe requests invalidate is gone on every node.
#[tokio::test]
async fn an_unsafe_request_is_heard_of_by_all() {
    let server = Server::shared();
    let (here, there) = nodes(&server.url()).await;
    let site = |redis| {
        let layer = CacheLayer::new(redis).near(1 << 20);
        layer.layer(Origin::new(|_| fresh("x")))
    };
    let (near, far) = (site(here), site(there));
    let send = async |service: &Cache<Origin>, method| {
        let asked = service.clone().oneshot(request(method, "/a", &[]));
        let response = asked.await.expect("an answer");
        let is_hit = is_hit(&response);
        response.into_body().collect().await.expect("a body");
        is_hit
    };
    for _ in 0..3 {
        for service in [&near, &far] {
            while !send(service, "GET").await {}
            assert!(send(service, "GET").await);
        }
        send(&near, "POST").await;
        until_log_is_read().await;
        assert!(!send(&far, "GET").await);
    }
}
