//! The cases, how they are measured in turns, and the table of ratios.

use std::{convert::Infallible, fmt::Debug, future::Future, pin::Pin, time::Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceExt};

/// A service that the cases call, with request bodies of one type and response bodies `B`.
pub(crate) trait Handler<ReqBody, B>:
    Service<Request<ReqBody>, Response = Response<B>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S, ReqBody, B> Handler<ReqBody, B> for S where
    S: Service<Request<ReqBody>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// Calls a service, and reads the whole answer.
pub(crate) async fn call<S, B>(service: S, request: Request<Full<Bytes>>) -> response::Parts
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Error: Debug>,
{
    let response = service.oneshot(request).await;
    let (parts, body) = response.unwrap_or_else(|never| match never {}).into_parts();
    body.collect().await.expect("a body");
    parts
}

/// What is measured, and what it is compared with.
pub(crate) struct Case {
    pub(crate) name: String,
    /// The names of the baselines. Their sum is what the case is compared with.
    beside: Vec<String>,
    /// The target of the ratio, or of the time over the first case.
    target: &'static str,
    /// How many requests one run makes.
    requests: usize,
    run: Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Case {
    pub(crate) fn new<F>(
        name: impl Into<String>,
        beside: &[&str],
        run: impl Fn() -> F + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            name: name.into(),
            beside: beside.iter().map(ToString::to_string).collect(),
            target: "",
            requests: 1,
            run: Box::new(move || Box::pin(run())),
        }
    }

    /// A service that each run calls once with `request`.
    pub(crate) fn service<S, B>(
        name: impl Into<String>,
        beside: &[&str],
        service: S,
        request: Request<String>,
    ) -> Self
    where
        S: Handler<Full<Bytes>, B>,
        B: Body<Data: Send, Error: Debug> + Send + 'static,
    {
        Self::requests(name, beside, service, move || request.clone())
    }

    /// A service that each run calls once with the next request.
    pub(crate) fn requests<S, B>(
        name: impl Into<String>,
        beside: &[&str],
        service: S,
        next: impl Fn() -> Request<String> + 'static,
    ) -> Self
    where
        S: Handler<Full<Bytes>, B>,
        B: Body<Data: Send, Error: Debug> + Send + 'static,
    {
        Self::new(name, beside, move || {
            let (service, request) = (service.clone(), next().map(|_| Full::default()));
            async move {
                call(service, request).await;
            }
        })
    }

    /// `work`, which makes [`LOOP`] requests, by each of `tasks` tasks.
    pub(crate) fn in_tasks<F>(
        name: &str,
        beside: &[&str],
        tasks: usize,
        work: impl Fn() -> F + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let run = move || {
            let running: Vec<_> = (0..tasks).map(|_| tokio::spawn(work())).collect();
            async move {
                for task in running {
                    task.await.expect("no panic");
                }
            }
        };
        let case = Self::new(name, beside, run);
        // The time of one of the tasks: they run side by side.
        Self {
            requests: LOOP,
            ..case
        }
    }

    pub(crate) fn target(self, target: &'static str) -> Self {
        Self { target, ..self }
    }

    /// The cases whose name contains `word`, their baselines, and always the first ones.
    pub(crate) fn wanted(cases: Vec<Self>, word: Option<&str>, always: usize) -> Vec<Self> {
        let Some(word) = word else {
            return cases;
        };
        let is_named = |case: &Self| case.name.contains(word);
        let named = cases.iter().filter(|case| is_named(case));
        let beside: Vec<String> = named.flat_map(|case| case.beside.clone()).collect();
        let mut place = 0..;
        let mut cases = cases;
        cases.retain(|case| {
            place.next() < Some(always) || is_named(case) || beside.contains(&case.name)
        });
        cases
    }
}

/// Nanoseconds per request for each case: the median of its rounds. The cases take turns, forwards and backwards.
pub(crate) async fn measure(cases: &[Case], at_once: usize, runs: usize) -> Vec<f64> {
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
                samples[index].push(
                    started.elapsed().as_nanos() as f64
                        / (runs * at_once * cases[index].requests) as f64,
                );
            }
        }
    }
    samples.into_iter().map(median).collect()
}

pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

pub(crate) fn report(title: &str, nanoseconds: &[f64], cases: &[Case]) {
    let bare = nanoseconds[0];
    let time_of = |name: &str| {
        let index = cases.iter().position(|case| case.name == name);
        index.map_or(f64::NAN, |index| nanoseconds[index])
    };
    println!("{title}");
    println!(
        "  {:<36} {:>10} {:>10} {:>8}   {:<9} beside",
        "", "us/request", "us - bare", "ratio", "target"
    );
    for (case, &time) in cases.iter().zip(nanoseconds) {
        // With several baselines, the time of the bare handler counts once.
        let price: f64 = case
            .beside
            .iter()
            .map(|name| time_of(name) - bare)
            .sum::<f64>()
            + bare;
        let (ratio, beside) = match &case.beside[..] {
            [] => (String::new(), String::new()),
            names => (
                format!("{:.2} x", time / price),
                names.join(" + ").replace("+ bare ", ""),
            ),
        };
        let line = format!(
            "  {:<36} {:>10.2} {:>10.2} {ratio:>8}   {:<9} {beside}",
            case.name,
            time / 1e3,
            (time - bare) / 1e3,
            case.target,
        );
        println!("{}", line.trim_end());
    }
    println!();
}

const ROUNDS: usize = 15;

/// The sizes of bodies and values, with their names.
pub(crate) const SIZES: [(usize, &str); 4] = [
    (200, "200 B"),
    (1 << 10, "1 KiB"),
    (16 << 10, "16 KiB"),
    (256 << 10, "256 KiB"),
];

/// How many requests the work of [`Case::in_tasks`] makes: so many that the start of a task does not count.
pub(crate) const LOOP: usize = 1000;
