//! Cases, the rounds in which they take turns, and the table of ratios.

use std::{convert::Infallible, future::Future, pin::Pin, time::Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceExt};

/// What is measured, and what it is to be compared with.
pub(crate) struct Case {
    pub(crate) name: String,
    /// The names of the baselines whose sum is the fair price.
    beside: Vec<String>,
    /// What the ratio is to be, or how much longer it may take than the first case.
    target: &'static str,
    /// How many requests a run is.
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

    /// A service, called once with `request` for each run.
    pub(crate) fn service<S, B>(
        name: impl Into<String>,
        beside: &[&str],
        service: S,
        request: Request<String>,
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
        Self::requests(name, beside, service, move || request.clone())
    }

    /// The same with another request each time.
    pub(crate) fn requests<S, B>(
        name: impl Into<String>,
        beside: &[&str],
        service: S,
        next: impl Fn() -> Request<String> + 'static,
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
            let (service, request) = (service.clone(), next().map(|_| Full::default()));
            async move {
                let response = service
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|never| match never {});
                response.into_body().collect().await.expect("a body");
            }
        })
    }

    pub(crate) fn target(self, target: &'static str) -> Self {
        Self { target, ..self }
    }

    /// Each run is this many requests, of which the figures are to be.
    pub(crate) fn of_requests(self, requests: usize) -> Self {
        Self { requests, ..self }
    }

    /// Those whose name has the `word`, and what they are compared with; the first ones always.
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
        // Several baselines: the handler's own part counts once.
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
