//! A primary that became a replica, while some read from it and others try to write to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body, routing::get};
use http::{Request, header};
use tokio::{task::JoinHandle, time::sleep};
use tower_fred::{
    Error, Redis, Session, SessionLayer,
    fred::{clients::Client, types::Value},
    rate_limit::{Quota, RateLimiter},
};

use super::page::{Answer, Pages};
use crate::{
    case::Case,
    downs::Downs,
    observed::DEADLINE,
    support::{command::run, http::call, topology::replicated},
};

pub(crate) async fn suffer(name: &'static str) -> Case {
    let (old, new) = replicated().await;
    let redis = old.redis_with(|builder| builder.deadline(DEADLINE)).await;
    let (admin, other) = (old.admin().await, new.admin().await);
    let readers = Readers::start(&redis).await;
    let downs = Downs::watch(&redis);

    let mut case = Case::begin(name);
    let port = new.port().to_string();
    tell(&other, &["NO", "ONE"]).await;
    tell(&admin, &["127.0.0.1", &port]).await;
    while !info(&admin).await.contains("master_link_status:up") {
        tokio::task::yield_now().await;
    }
    // What was known of the purges while the server was a primary is used for some tens of milliseconds.
    sleep(SETTLED).await;
    readers.reads.take();
    sleep(ALONE).await;
    let alone = readers.reads.take();
    // Sessions are read as ever. Whether pages are depends on whether a replica is believed about purges.
    case.promise(alone.failed == 0, format!("without writers {alone}"));

    let before = connections(&admin).await;
    case.lines();
    let (begun, lines) = (Instant::now(), (case.lines().own(), case.lines().of_fred()));
    let writers = Writers::start(&redis);
    sleep(WITH_WRITERS).await;
    let with_writers = readers.reads.take();
    let span = begun.elapsed().as_secs_f64();
    let refused = writers.end().await;
    let made = connections(&admin).await - before;
    let own = case.lines().own() - lines.0;
    let freds = case.lines().of_fred() - lines.1;

    case.saw(format!(
        "{:.0} refused writes a second",
        refused as f64 / span
    ));
    // Hardly more of the pages than without writers, and no session at all.
    let is_read = with_writers.bypassed() <= alone.bypassed() + 0.01;
    let is_read = is_read && with_writers.failed == 0;
    case.promise(is_read, format!("with writers {with_writers}"));
    let most = (span * MOST_RECONNECTIONS).ceil() as usize + 1;
    case.promise(made <= most, format!("{made} of {most} connections"));
    let what = format!("{own} lines and {freds} of fred while there were writers");
    case.promise(own <= span.ceil() as usize + 1 && freds <= most, what);

    tell(&admin, &["NO", "ONE"]).await;
    sleep(BACK).await;
    readers.reads.take();
    sleep(BACK).await;
    let again = readers.reads.take();
    let is_well = again.bypassed() == 0.0 && again.failed == 0;
    case.promise(is_well, format!("afterwards {again}"));
    let count = downs.count();
    case.promise(count == 0, format!("{count} times down"));
    case
}

async fn tell(admin: &Client, arguments: &[&str]) {
    let _: Value = run(admin, "REPLICAOF", arguments).await.expect("REPLICAOF");
}

async fn info(admin: &Client) -> String {
    run(admin, "INFO", &[]).await.expect("info")
}

/// How many connections the server has accepted.
async fn connections(admin: &Client) -> usize {
    let info = info(admin).await;
    let count = info
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:"));
    count
        .and_then(|count| count.trim().parse().ok())
        .expect("a count")
}

/// Who reads cached pages, and who reads a session.
struct Readers {
    reads: Arc<Reads>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Reads {
    pages: AtomicUsize,
    bypassed: AtomicUsize,
    sessions: AtomicUsize,
    failed: AtomicUsize,
}

/// The reads of a while.
struct Counted {
    pages: usize,
    bypassed: usize,
    sessions: usize,
    failed: usize,
}

impl Readers {
    async fn start(redis: &Redis) -> Self {
        let reads = Arc::new(Reads::default());
        let pages = Pages::new(redis, Duration::ZERO);
        let sessions = Router::new()
            .route("/", get(number).post(begin))
            .layer(SessionLayer::new(redis.clone()));
        let request = Request::post("/").body(Body::empty()).expect("a request");
        let answer = call(sessions.clone(), request).await;
        let cookie = answer.headers()[header::SET_COOKIE].clone();
        let mut tasks = Vec::new();
        for number in 0..READERS {
            pages.warm(number).await;
            let (pages, sessions) = (pages.clone(), sessions.clone());
            let (cookie, reads) = (cookie.clone(), Arc::clone(&reads));
            tasks.push(tokio::spawn(async move {
                loop {
                    let (answer, _) = pages.ask(number).await;
                    reads.pages.fetch_add(1, Ordering::Relaxed);
                    let is_hit = answer == Answer::Hit;
                    reads
                        .bypassed
                        .fetch_add(usize::from(!is_hit), Ordering::Relaxed);

                    let request = Request::get("/").header(header::COOKIE, &cookie);
                    let request = request.body(Body::empty()).expect("a request");
                    let answer = call(sessions.clone(), request).await;
                    reads.sessions.fetch_add(1, Ordering::Relaxed);
                    let is_read = answer.body() == "7";
                    reads
                        .failed
                        .fetch_add(usize::from(!is_read), Ordering::Relaxed);
                    // The pace of the readers.
                    sleep(PAUSE).await;
                }
            }));
        }
        Self { reads, tasks }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Reads {
    /// What was read since the last time.
    fn take(&self) -> Counted {
        let take = |count: &AtomicUsize| count.swap(0, Ordering::Relaxed);
        Counted {
            pages: take(&self.pages),
            bypassed: take(&self.bypassed),
            sessions: take(&self.sessions),
            failed: take(&self.failed),
        }
    }
}

impl Counted {
    /// The part of the pages that were not read from Redis.
    fn bypassed(&self) -> f64 {
        self.bypassed as f64 / self.pages.max(1) as f64
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            pages,
            bypassed,
            sessions,
            failed,
        } = self;
        write!(
            f,
            "{bypassed} of {pages} pages bypassed and {failed} of {sessions} sessions not read"
        )
    }
}

async fn begin(session: Session) -> Result<(), Error> {
    session.insert("number", &7)
}

async fn number(session: Session) -> Result<String, Error> {
    let number: Option<u64> = session.get("number").await?;
    Ok(number.unwrap_or(0).to_string())
}

/// Who writes: limits count in Redis.
struct Writers {
    over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<usize>>,
}

impl Writers {
    fn start(redis: &Redis) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let limiter = RateLimiter::new(redis.clone(), Quota::per_second(1000));
        let tasks = (0..WRITERS).map(|number| {
            let (limiter, over) = (limiter.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut refused = 0;
                while !over.load(Ordering::Relaxed) {
                    let check = limiter.check(&format!("writer-{number}")).await;
                    refused += usize::from(check.is_err());
                    // The pace of the writers.
                    sleep(PAUSE).await;
                }
                refused
            })
        });
        let tasks = tasks.collect();
        Self { over, tasks }
    }

    /// How many writes were refused.
    async fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        let mut refused = 0;
        for task in self.tasks {
            refused += task.await.expect("a writer");
        }
        refused
    }
}

const READERS: usize = 8;
const WRITERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(15);
const SETTLED: Duration = Duration::from_millis(200);
const ALONE: Duration = Duration::from_secs(1);
const WITH_WRITERS: Duration = Duration::from_secs(3);
/// Until all are served again.
const BACK: Duration = Duration::from_secs(1);
/// At most so many times a second is the connection made anew.
const MOST_RECONNECTIONS: f64 = 4.0;
