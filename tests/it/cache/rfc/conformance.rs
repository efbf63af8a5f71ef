//! Runs each case of `conformance.txt` and `cases.txt` through the real layer and Redis.
//!
//! The first is the list of what caches are compared by, with the settings of a proxy; what this cache does not do is
//! marked there, and the test fails if it does. The second has our own cases, with the default settings.

use std::{
    collections::HashSet,
    future::{Ready, ready},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt};
use tower_fred::{CacheLayer, cache::CacheStatus};

use super::fields::{fields, full_name};
use crate::cache::{patient, request, travel};
use crate::support::Server;

#[tokio::test]
async fn every_duty_of_the_list_holds_but_those_marked() {
    let settings = |layer: CacheLayer| {
        layer
            .heuristic(Duration::from_secs(86_400))
            .targeted(HeaderName::from_static("cdn-cache-control"))
    };
    // What a client may say without any effect.
    let noise = [("cache-control", "nothing-to-see-here"), ("pragma", "foo")];
    run_all(include_str!("conformance.txt"), settings, &noise, 249).await;
}

#[tokio::test]
async fn every_case_holds() {
    run_all(include_str!("cases.txt"), |layer| layer, &[], 100).await;
}

async fn run_all(
    text: &str,
    settings: impl Fn(CacheLayer) -> CacheLayer,
    noise: &[(&str, &str)],
    least: usize,
) {
    let (mut failures, mut names) = (Vec::new(), HashSet::new());
    let lines = text.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (case, reason) = line.split_once(" ## ").unwrap_or((line, ""));
        let (name, steps) = case.split_once(" | ").expect(line);
        let is_marked = name.starts_with("! ");
        assert_eq!(
            is_marked,
            !reason.is_empty(),
            "a reason for each mark: {line}"
        );
        match run(steps.trim(), &settings, noise).await {
            Err(_) if is_marked => {}
            Ok(()) if is_marked => failures.push(format!("{name}: holds, against its mark")),
            Err(failure) => failures.push(format!("{name}: {failure}")),
            Ok(()) => {}
        }
        assert!(names.insert(name.to_owned()), "two cases named {name}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(names.len() >= least, "{} cases", names.len());
}

async fn run(
    steps: &str,
    settings: impl Fn(CacheLayer) -> CacheLayer,
    noise: &[(&str, &str)],
) -> Result<(), String> {
    let now = SystemTime::now();
    let server = Server::shared();
    let redis = patient(&server).await;
    let origin = Scripted::default();
    let layer = settings(CacheLayer::new(redis.clone()));
    let service = layer.layer(origin.clone());
    // What was sent last for each path, as a confirmed answer has the old body.
    let mut last_body = Bytes::new();
    for (number, step) in steps.split(" ¦ ").enumerate() {
        if let Some(seconds) = step.trim().strip_prefix("pause ") {
            travel(
                &server,
                &redis,
                Duration::from_secs(seconds.parse().expect(step)),
            )
            .await;
            continue;
        }
        let step = Step::parse(step, now);
        origin.prepare(step.reply.clone());
        let response = service.clone().oneshot(step.request(noise)).await;
        // Before anything in the background can ask.
        let seen = origin.seen();
        let response = received(response).await;
        for _ in 0..8 {
            redis.ping().await.expect("a sign of life");
        }
        step.expect(&response, seen.as_ref(), &last_body)
            .map_err(|failure| format!("step {}: {failure}: {response:?}", number + 1))?;
        if seen.is_some() && response.status() != 304 && !step.is_head() {
            last_body = response.into_body();
        }
    }
    Ok(())
}

/// What a client gets: an error of the service would be answered so by whatever is outside.
async fn received<B>(response: Result<Response<B>, Gone>) -> Response<Bytes>
where
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    match response {
        Ok(response) => {
            let (parts, body) = response.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            Response::from_parts(parts, body)
        }
        Err(Gone) => {
            let response = Response::builder().status(502);
            response.body(Bytes::new()).expect("a response")
        }
    }
}

/// A handler that answers as it was told last, or not at all.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<(Reply, Option<Seen>)>>);

#[derive(Debug)]
struct Gone;

/// The last request that the handler saw.
#[derive(Clone, Debug)]
struct Seen {
    method: Method,
    headers: HeaderMap,
}

impl Scripted {
    fn prepare(&self, reply: Reply) {
        *self.lock() = (reply, None);
    }

    fn seen(&self) -> Option<Seen> {
        self.lock().1.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Reply, Option<Seen>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service<Request<Body>> for Scripted {
    type Response = Response<Body>;
    type Error = Gone;
    type Future = Ready<Result<Response<Body>, Gone>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut state = self.lock();
        state.1 = Some(Seen {
            method: request.method().clone(),
            headers: request.headers().clone(),
        });
        ready(state.0.response().ok_or(Gone))
    }
}

struct Step {
    method: String,
    path: String,
    request: Vec<(String, String)>,
    reply: Reply,
    expectations: Vec<String>,
    now: SystemTime,
}

#[derive(Clone, Default)]
struct Reply {
    /// No answer at all when there is none.
    status: Option<u16>,
    fields: Vec<(String, String)>,
    body: String,
}

impl Step {
    /// `METHOD path [field: value; ...] -> status field: value; ... body text => expectation & ...`
    fn parse(text: &str, now: SystemTime) -> Self {
        let (text, expectations) = text.split_once(" => ").unwrap_or((text, ""));
        let (head, reply) = text.split_once(" -> ").unwrap_or((text, ""));
        let (line, request) = head.split_once(" [").unwrap_or((head, "]"));
        let (method, path) = line.trim().split_once(' ').unwrap_or((line, "/page"));
        let path = path.trim();
        let mut step = Self {
            method: method.trim().into(),
            path: if path.starts_with('/') {
                path.into()
            } else {
                format!("/page{path}")
            },
            request: fields(request.trim().strip_suffix(']').expect("a bracket"), now),
            reply: Reply::parse(&format!(" {}", reply.trim()), now),
            expectations: expectations
                .split(" & ")
                .map(|expectation| expectation.trim_start().to_owned())
                .filter(|expectation| !expectation.is_empty())
                .collect(),
            now,
        };
        if step.wants("VALIDATED") {
            step.reply.status = Some(304);
        }
        step
    }

    fn wants(&self, word: &str) -> bool {
        self.expectations
            .iter()
            .any(|expectation| expectation.starts_with(word))
    }

    fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    fn request(&self, noise: &[(&str, &str)]) -> Request<Body> {
        let mut all: Vec<(&str, &str)> = self.request.iter().map(|(n, v)| (&**n, &**v)).collect();
        for (name, value) in noise {
            if !all
                .iter()
                .any(|(other, _)| other.eq_ignore_ascii_case(name))
            {
                all.push((name, value));
            }
        }
        request(&self.method, &self.path, &all)
    }

    fn expect(
        &self,
        response: &Response<Bytes>,
        seen: Option<&Seen>,
        last_body: &Bytes,
    ) -> Result<(), String> {
        let status = response.extensions().get::<CacheStatus>();
        let is_hit = status.is_some_and(CacheStatus::is_hit);
        if is_hit && seen.is_some() {
            return Err("the status is wrong about who answered".into());
        }
        let text = status.map(ToString::to_string).unwrap_or_default();
        let from_cache = is_hit || text.contains("stale-if-error");
        for expectation in &self.expectations {
            let holds = match expectation.split_once(' ').unwrap_or((expectation, "")) {
                ("FROM", "CACHE") => from_cache,
                ("FROM", "ORIGIN") => !from_cache && seen.is_some(),
                ("VALIDATED", how) => {
                    let field = full_name(how.strip_prefix("by ").expect(expectation));
                    let asked = seen.is_some_and(|seen| seen.headers.contains_key(field));
                    asked && response.status() == 200 && response.body() == last_body
                }
                ("origin", sees) => self.saw(sees.strip_prefix("sees ").expect(sees), seen),
                ("status", code) => response.status().as_u16().to_string() == code,
                ("body", text) => response.body() == text,
                ("without", name) => !response.headers().contains_key(full_name(name)),
                ("has", name) => response.headers().contains_key(full_name(name)),
                // An interim response: none goes through a service.
                ("1XX", _) => false,
                ("with", field) => {
                    let (name, value) = &fields(field, self.now)[0];
                    joined(response.headers(), name) == value.as_bytes()
                }
                ("Age", least) => {
                    let age = response.headers().get("age").expect("Age");
                    let age: u64 = age.to_str().expect("ASCII").parse().expect("a number");
                    age >= least.parse().expect("a number")
                }
                _ => panic!("unknown expectation {expectation}"),
            };
            if !holds {
                return Err(format!("not {expectation}"));
            }
        }
        // What comes from the origin comes as it was sent.
        let is_plain = seen.is_some() && !from_cache && self.reply.status.is_some_and(|s| s != 304);
        if is_plain && !self.is_head() {
            return self.reply.is_intact(response);
        }
        Ok(())
    }

    fn saw(&self, what: &str, seen: Option<&Seen>) -> bool {
        let Some(seen) = seen else { return false };
        match what.split_once(": ") {
            Some(_) => {
                let (name, value) = &fields(what, self.now)[0];
                joined(&seen.headers, name) == value.as_bytes()
            }
            None => seen.method.as_str() == what,
        }
    }
}

fn joined(headers: &HeaderMap, name: &str) -> Vec<u8> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(AsRef::as_ref).collect();
    lines.join(&b"|"[..])
}

impl Reply {
    fn parse(text: &str, now: SystemTime) -> Self {
        let (text, body) = text.split_once(" body ").unwrap_or((text, "content"));
        let text = text.trim();
        let (status, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (status, fields) = match status.parse() {
            Ok(status) => (Some(status), fields(rest, now)),
            Err(_) => ((text != "drop").then_some(200), fields(text, now)),
        };
        let length = fields
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let body = match length {
            Some((_, length)) if body == "content" => "x".repeat(length.parse().expect(text)),
            _ => body.into(),
        };
        Self {
            status,
            fields,
            body,
        }
    }

    fn response(&self) -> Option<Response<Body>> {
        let status = self.status?;
        let mut response = Response::builder().status(status);
        for (name, value) in &self.fields {
            response = response.header(name, value.as_bytes());
        }
        let body = match status {
            204 | 304 => Body::empty(),
            _ => self.body.clone().into(),
        };
        Some(response.body(body).expect("a response"))
    }

    fn is_intact(&self, response: &Response<Bytes>) -> Result<(), String> {
        let sent = self.response().expect("an answer");
        if sent.status() != response.status() {
            return Err("another status than was sent".into());
        }
        for name in sent.headers().keys() {
            let of = |headers: &HeaderMap| joined(headers, name.as_str());
            if of(sent.headers()) != of(response.headers()) {
                return Err(format!("not the {name} that was sent"));
            }
        }
        if sent.status() != 204 && response.body() != self.body.as_bytes() {
            return Err("not the body that was sent".into());
        }
        Ok(())
    }
}
