//! Each layer beside the bare handler, the handler with one GET, and the handler with one EVALSHA.
//!
//! ```text
//! make bench
//! ```
//!
//! The cases take turns in short rounds, and each figure is the median of its rounds: what else the machine does then
//! falls on all of them alike, and the ratios hold where the microseconds do not. A word after `--` runs only the cases
//! whose name has it; the baselines always run.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_fred::{
    CacheLayer, RateLimitLayer, Redis, Session, SessionLayer,
    fred::interfaces::{KeysInterface, LuaInterface},
    memo::Memo,
    rate_limit::{PeerAddr, Quota},
};

#[tokio::main]
async fn main() {
    let url =
        std::env::var("REDIS_URL").expect("REDIS_URL: scripts/bench starts a server and sets it");
    let redis = Redis::builder()
        .namespace(format!("bench-{}", std::process::id()))
        .connect(&url)
        .await
        .expect("a server at REDIS_URL");
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let mut cases = baselines(&redis).await;
    for case in layers(&redis).await {
        if wanted
            .as_deref()
            .is_none_or(|word| case.name.contains(word))
        {
            cases.push(case);
        }
    }

    println!("a response of 1 KiB, in process; ratios to the baselines of the same run\n");
    report(
        "one request at a time",
        &measure(&cases, 1, 300).await,
        &cases,
    );
    report(
        "64 requests at a time",
        &measure(&cases, 64, 40).await,
        &cases,
    );
}

/// What is measured, and what it is to be compared with.
struct Case {
    name: &'static str,
    /// The names of the baselines whose sum is the fair price.
    beside: &'static [&'static str],
    run: Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Case {
    fn new<F>(
        name: &'static str,
        beside: &'static [&'static str],
        run: impl Fn() -> F + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            name,
            beside,
            run: Box::new(move || Box::pin(run())),
        }
    }

    /// A service, called once with `request` for each run.
    fn service<S, B>(
        name: &'static str,
        beside: &'static [&'static str],
        service: S,
        request: Request<()>,
    ) -> Self
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Debug,
    {
        Self::new(name, beside, move || {
            let (service, request) = (service.clone(), request.clone().map(|()| Full::default()));
            async move {
                let response = service
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|never| match never {});
                response.into_body().collect().await.expect("a body");
            }
        })
    }
}

async fn baselines(redis: &Redis) -> Vec<Case> {
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
        Case::service("bare + GET", &["bare handler"], service_fn(get), request()),
        Case::service(
            "bare + EVALSHA",
            &["bare handler"],
            service_fn(evalsha),
            request(),
        ),
    ]
}

async fn layers(redis: &Redis) -> Vec<Case> {
    let mut cases = rate_limits(redis).await;
    cases.extend(sessions(redis).await);
    cases.extend(caches(redis).await);
    cases.extend(stacked(redis).await);
    cases
}

async fn rate_limits(redis: &Redis) -> Vec<Case> {
    let generous = RateLimitLayer::new(redis.clone(), Quota::per_second(1_000_000)).name("allowed");
    let strict = RateLimitLayer::new(redis.clone(), Quota::per_day(1)).name("denied");
    let denied = strict.layer(service_fn(|_| page(None)));
    denied
        .clone()
        .oneshot(request().map(|()| Full::default()))
        .await
        .expect("the only one");
    vec![
        Case::service(
            "rate limit, allowed",
            &["bare + EVALSHA"],
            generous.layer(service_fn(|_| page(None))),
            request(),
        ),
        Case::service("rate limit, denied", &["bare + EVALSHA"], denied, request()),
    ]
}

async fn sessions(redis: &Redis) -> Vec<Case> {
    let cookie = session_cookie(redis).await;
    let with = |handler: Handler| {
        SessionLayer::new(redis.clone()).layer(service_fn(move |request| run(handler, request)))
    };
    let mut request = request();
    request.headers_mut().insert(header::COOKIE, cookie);
    vec![
        Case::service(
            "session, untouched",
            &["bare handler"],
            with(Handler::Untouched),
            request.clone(),
        ),
        Case::service(
            "session, read",
            &["bare + GET"],
            with(Handler::Read),
            request.clone(),
        ),
        Case::service(
            "session, blind write",
            &["bare + EVALSHA"],
            with(Handler::Write),
            request.clone(),
        ),
        Case::service(
            "session, read and write",
            &["bare + GET", "bare + EVALSHA"],
            with(Handler::ReadAndWrite),
            request,
        ),
    ]
}

async fn caches(redis: &Redis) -> Vec<Case> {
    let cache = CacheLayer::new(redis.clone()).layer(service_fn(|_| page(Some("max-age=600"))));
    fill(&cache, &request()).await;
    let memo: Memo<String> = Memo::new(redis.clone(), "bench", Duration::from_secs(600));
    let value = move || {
        let memo = memo.clone();
        async move {
            let load = || async { Ok::<_, Infallible>(String::from_utf8_lossy(BODY).into_owned()) };
            memo.get_or_set("key", load)
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

async fn stacked(redis: &Redis) -> Vec<Case> {
    let stack = ServiceBuilder::new()
        .layer(RateLimitLayer::new(redis.clone(), Quota::per_second(1_000_000)).name("stacked"))
        .layer(SessionLayer::new(redis.clone()))
        .layer(CacheLayer::new(redis.clone()).name("stacked"))
        .service(service_fn(|_| page(Some("max-age=600"))));
    fill(&stack, &request()).await;
    vec![Case::service(
        "all three: allowed, untouched, hit",
        &["bare + GET", "bare + EVALSHA"],
        stack,
        request(),
    )]
}

#[derive(Clone, Copy)]
enum Handler {
    Untouched,
    Read,
    Write,
    ReadAndWrite,
}

async fn run(
    handler: Handler,
    request: Request<Full<Bytes>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let session = request
        .extensions()
        .get::<Session>()
        .expect("the layer is above");
    if matches!(handler, Handler::Read | Handler::ReadAndWrite) {
        let _: Option<u64> = session.get("count").await.expect("a read");
    }
    if matches!(handler, Handler::Write | Handler::ReadAndWrite) {
        // A new value each time: an equal one would not be written.
        let now = std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0, |elapsed| elapsed.as_nanos());
        session.insert("now", &now.to_string()).expect("a value");
    }
    page(None).await
}

/// The cookie of a session with a value of 1 KiB, as a browser sends it back.
async fn session_cookie(redis: &Redis) -> header::HeaderValue {
    let create = SessionLayer::new(redis.clone()).layer(service_fn(
        |request: Request<Full<Bytes>>| async move {
            let session = request
                .extensions()
                .get::<Session>()
                .expect("the layer is above");
            session.insert("count", &1_u64).expect("a value");
            session
                .insert("text", &String::from_utf8_lossy(BODY))
                .expect("a value");
            page(None).await
        },
    ));
    let response = create
        .oneshot(request().map(|()| Full::default()))
        .await
        .expect("a session");
    let cookie = response.headers()[header::SET_COOKIE]
        .to_str()
        .expect("a cookie");
    cookie
        .split(';')
        .next()
        .unwrap_or_default()
        .parse()
        .expect("a header value")
}

/// Sends one request, and waits until its answer is in the cache.
async fn fill<S, B>(service: &S, request: &Request<()>)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body,
    B::Error: std::fmt::Debug,
{
    loop {
        let request = request.clone().map(|()| Full::default());
        let response = service
            .clone()
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {});
        let (parts, body) = response.into_parts();
        let _ = body.collect().await.expect("a body");
        if parts.headers.contains_key(header::AGE) {
            return;
        }
    }
}

async fn page(cache_control: Option<&'static str>) -> Result<Response<Full<Bytes>>, Infallible> {
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

fn request() -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = http::Uri::from_static("http://localhost/page?of=bench");
    request
        .extensions_mut()
        .insert(PeerAddr(([127, 0, 0, 1], 1234).into()));
    request
}

/// Nanoseconds per run for each case: the median of its rounds. The cases take turns, forwards and backwards.
async fn measure(cases: &[Case], at_once: usize, runs: usize) -> Vec<f64> {
    let mut samples = vec![Vec::with_capacity(ROUNDS); cases.len()];
    for round in 0..=ROUNDS {
        let forwards = round % 2 == 0;
        for place in 0..cases.len() {
            let index = if forwards {
                place
            } else {
                cases.len() - 1 - place
            };
            let started = Instant::now();
            for _ in 0..runs {
                if at_once == 1 {
                    (cases[index].run)().await;
                } else {
                    join_all((0..at_once).map(|_| (cases[index].run)())).await;
                }
            }
            // The first round warms up.
            if round > 0 {
                samples[index].push(started.elapsed().as_nanos() as f64 / (runs * at_once) as f64);
            }
        }
    }
    samples.into_iter().map(median).collect()
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn report(title: &str, nanoseconds: &[f64], cases: &[Case]) {
    let bare = nanoseconds[0];
    let time_of = |name: &str| {
        let index = cases.iter().position(|case| case.name == name);
        index.map_or(f64::NAN, |index| nanoseconds[index])
    };
    println!("{title}");
    println!(
        "  {:<36} {:>10} {:>10}   beside",
        "", "us/request", "us - bare"
    );
    for (case, &time) in cases.iter().zip(nanoseconds) {
        // Several baselines: the handler's own part counts once.
        let price: f64 = case
            .beside
            .iter()
            .map(|name| time_of(name) - bare)
            .sum::<f64>()
            + bare;
        let beside = match case.beside {
            [] => String::new(),
            names => format!(
                "{:>6.2} x {}",
                time / price,
                names.join(" + ").replace("+ bare ", "")
            ),
        };
        println!(
            "  {:<36} {:>10.2} {:>10.2}   {beside}",
            case.name,
            time / 1e3,
            (time - bare) / 1e3
        );
    }
    println!();
}

const BODY: &[u8] = &[b'x'; 1024];
const COUNT: &str =
    "local n = redis.call('INCR', KEYS[1]) redis.call('PEXPIRE', KEYS[1], ARGV[1]) return n";
const ROUNDS: usize = 15;
