//! Runs each case of `conformance.txt` through the real layer and Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::body::Body;
use bytes::Bytes;
use http::Response;

use super::{Site, is_hit, request};

#[tokio::test]
async fn every_case_holds() {
    let mut failures = Vec::new();
    let mut names = Vec::new();
    let lines = include_str!("conformance.txt").lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, steps) = line.split_once(" | ").expect(line);
        if let Err(failure) = run(steps.trim()).await {
            failures.push(format!("{name}: {failure}"));
        }
        names.push(name);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() == count && count > 100, "{count} cases");
}

async fn run(steps: &str) -> Result<(), String> {
    let steps: Vec<Step> = steps.split(" ¦ ").map(Step::parse).collect();
    let replies: Vec<Reply> = steps.iter().map(|step| step.reply.clone()).collect();
    let current = Arc::new(AtomicUsize::new(0));
    let number = Arc::clone(&current);
    let site = Site::new(move |_| replies[number.load(Ordering::SeqCst)].response()).await;
    for (number, step) in steps.iter().enumerate() {
        let calls = site.calls();
        let fields: Vec<_> = step.request.iter().map(|(n, v)| (&**n, &**v)).collect();
        let response = site.send(request(&step.method, &step.path, &fields)).await;
        let asked = site.calls() > calls;
        step.expect(&response, asked)
            .map_err(|failure| format!("step {}: {failure}: {response:?}", number + 1))?;
        current.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

struct Step {
    method: String,
    path: String,
    request: Vec<(String, String)>,
    reply: Reply,
    expectations: Vec<String>,
}

#[derive(Clone)]
struct Reply {
    status: u16,
    fields: Vec<(String, String)>,
    body: String,
}

impl Step {
    /// `METHOD path [field: value; ...] -> status field: value; ... body text => expectation, ...`
    fn parse(text: &str) -> Self {
        let (text, expectations) = text.split_once(" => ").unwrap_or((text, ""));
        let (head, reply) = text.split_once(" -> ").unwrap_or((text, ""));
        let (line, request) = head.split_once(" [").unwrap_or((head, "]"));
        let (method, path) = line.split_once(' ').unwrap_or((line, "/page"));
        Self {
            method: method.trim().into(),
            path: path.trim().into(),
            request: fields(request.trim().strip_suffix(']').expect("a bracket")),
            reply: Reply::parse(&format!(" {}", reply.trim())),
            expectations: expectations
                .split(" & ")
                .map(|expectation| expectation.trim().to_owned())
                .filter(|expectation| !expectation.is_empty())
                .collect(),
        }
    }

    fn expect(&self, response: &Response<Bytes>, asked: bool) -> Result<(), String> {
        if is_hit(response) == asked {
            return Err("the status is wrong about who answered".into());
        }
        for expectation in &self.expectations {
            let holds = match expectation.split_once(' ').unwrap_or((expectation, "")) {
                ("FROM", "CACHE") => !asked,
                ("FROM", "ORIGIN") => asked,
                ("status", code) => response.status().as_u16().to_string() == code,
                ("body", text) => response.body() == text,
                ("without", name) => !response.headers().contains_key(name),
                ("with", field) => {
                    let (name, value) = &fields(field)[0];
                    let lines = response.headers().get_all(name).iter();
                    let lines: Vec<&[u8]> = lines.map(AsRef::as_ref).collect();
                    lines.join(&b"|"[..]) == value.as_bytes()
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
        Ok(())
    }
}

impl Reply {
    fn parse(text: &str) -> Self {
        let (text, body) = text.split_once(" body ").unwrap_or((text, "content"));
        let text = text.trim();
        let (status, rest) = text.split_once(' ').unwrap_or((text, ""));
        match status.parse() {
            Ok(status) => Self {
                status,
                fields: fields(rest),
                body: body.into(),
            },
            Err(_) => Self {
                status: 200,
                fields: fields(text),
                body: body.into(),
            },
        }
    }

    fn response(&self) -> Response<Body> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.fields {
            response = response.header(name, value.as_bytes());
        }
        let body = match self.status {
            204 => Body::empty(),
            _ => self.body.clone().into(),
        };
        response.body(body).expect("a response")
    }
}

fn fields(text: &str) -> Vec<(String, String)> {
    text.split("; ")
        .filter_map(|field| field.trim_end_matches(';').split_once(':'))
        .map(|(name, value)| {
            let name = match name.trim() {
                "CC" => "cache-control",
                "LM" => "last-modified",
                name => name,
            };
            // One blank after the colon is not part of the value; more are.
            let value = value.strip_prefix(' ').unwrap_or(value);
            (name.to_owned(), date(value).unwrap_or(value.to_owned()))
        })
        .collect()
}

/// `now`, `now-10s`, `now+10s`
fn date(text: &str) -> Option<String> {
    let offset = text.strip_prefix("now")?.trim_end_matches('s');
    let seconds: i64 = if offset.is_empty() {
        0
    } else {
        offset.parse().ok()?
    };
    // Kept to one second for all dates of the run, so that they can be compared.
    static NOW: std::sync::OnceLock<SystemTime> = std::sync::OnceLock::new();
    let now = *NOW.get_or_init(SystemTime::now);
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let date = if seconds < 0 {
        now - distance
    } else {
        now + distance
    };
    Some(httpdate::fmt_http_date(date))
}
