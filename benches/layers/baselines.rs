//! The handler of all cases, and the baselines that they are compared with.

use std::{convert::Infallible, fmt::Debug};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::Body;
use http_body_util::Full;
use tower::service_fn;
use tower_fred::{
    Redis,
    fred::interfaces::{KeysInterface, LuaInterface},
    rate_limit::PeerAddr,
};

use crate::harness::{Case, Handler, call};

pub(crate) async fn baselines(redis: &Redis) -> Vec<Case> {
    let client = redis.client();
    let key = format!("{}:baseline", redis.namespace());
    let _: () = client
        .set(&key, BODY, None, None, false)
        .await
        .expect("set");
    let counter = format!("{}:counter", redis.namespace());
    let sha: String = client.script_load(COUNT).await.expect("a script");

    let get = {
        let client = client.clone();
        move |_| {
            let (client, key) = (client.clone(), key.clone());
            async move {
                let _: Bytes = client.get(key).await.expect("get");
                page(None).await
            }
        }
    };
    let evalsha = move |_| {
        let (client, counter, sha) = (client.clone(), counter.clone(), sha.clone());
        async move {
            let _: i64 = client.evalsha(sha, counter, 60_000).await.expect("evalsha");
            page(None).await
        }
    };
    vec![
        Case::service("bare handler", &[], service_fn(|_| page(None)), request()),
        Case::service("bare + GET", &[], service_fn(get), request()),
        Case::service("bare + EVALSHA", &[], service_fn(evalsha), request()),
    ]
}

pub(crate) async fn page(
    cache_control: Option<&'static str>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::from(BODY));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain"),
    );
    if let Some(value) = cache_control {
        headers.insert(
            header::CACHE_CONTROL,
            header::HeaderValue::from_static(value),
        );
    }
    Ok(response)
}

pub(crate) fn request() -> Request<String> {
    let mut request = Request::new(String::new());
    *request.uri_mut() = http::Uri::from_static("http://localhost/page?of=bench");
    request
        .extensions_mut()
        .insert(PeerAddr(([127, 0, 0, 1], 1234).into()));
    request
}

/// Sends a request until its answer comes from the cache.
pub(crate) async fn fill<S, B>(service: &S, request: &Request<String>)
where
    S: Handler<Full<Bytes>, B>,
    B: Body<Error: Debug>,
{
    loop {
        let request = request.clone().map(|_| Full::default());
        let parts = call(service.clone(), request).await;
        if parts.headers.contains_key(header::AGE) {
            return;
        }
    }
}

pub(crate) const BODY: &[u8] = &[b'x'; 1024];
const COUNT: &str =
    "local n = redis.call('INCR', KEYS[1]) redis.call('PEXPIRE', KEYS[1], ARGV[1]) return n";
