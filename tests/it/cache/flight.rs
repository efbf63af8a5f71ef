use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::{sync::Semaphore, time::timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_fred::{CacheLayer, Redis};

use super::{is_hit, patient, reply, request, status};
use crate::support::Server;

/// A handler that waits for leave, then answers with its number.
#[derive(Clone)]
struct Gate {
    calls: Arc<AtomicUsize>,
    open: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self {
            calls: Arc::default(),
            open: Arc::new(Semaphore::new(0)),
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn service<E: Send + 'static>(
        &self,
        answer: impl Fn(usize) -> Result<Response<Body>, E> + Clone + Send + 'static,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = E, Future: Send>
    + Clone
    + Send
    + 'static {
        let gate = self.clone();
        service_fn(move |_: Request<Body>| {
            let (gate, answer) = (gate.clone(), answer.clone());
            async move {
                let number = gate.calls.fetch_add(1, Ordering::SeqCst) + 1;
                gate.open.acquire().await.expect("open").forget();
                answer(number)
            }
        })
    }

    /// Waits until the handler was called so often.
    async fn called(&self, times: usize) {
        let called = async {
            while self.calls() < times {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, called).await.expect("a call");
    }
}

/// The server lives as long as somebody has it.
async fn redis() -> (Arc<Server>, Redis) {
    let server = Server::shared();
    let redis = patient(&server).await;
    (server, redis)
}

async fn read<B>(response: Response<B>) -> Result<Bytes, B::Error>
where
    B: http_body::Body,
{
    Ok(response.into_body().collect().await?.to_bytes())
}

/// Gives those who were begun before this the time to wait for something: replies come in the order of the commands.
async fn settle(redis: &Redis) {
    for _ in 0..8 {
        redis.ping().await.expect("a sign of life");
    }
}

fn numbered(number: usize) -> Result<Response<Body>, Infallible> {
    Ok(reply(
        &[("cache-control", "max-age=60")],
        number.to_string(),
    ))
}

#[tokio::test]
async fn one_asks_for_all() {
    let (_server, redis) = redis().await;
    let gate = Gate::new();
    let service = CacheLayer::new(redis.clone()).layer(gate.service(numbered));
    let requests = (0..100).map(|_| {
        let service = service.clone();
        tokio::spawn(async move {
            let response = service
                .oneshot(request("GET", "/", &[]))
                .await
                .expect("an answer");
            let collapsed = status(&response).is_collapsed();
            (collapsed, read(response).await.expect("a body"))
        })
    });
    let requests: Vec<_> = requests.collect();
    gate.called(1).await;
    settle(&redis).await;
    gate.open.add_permits(1);
    let answers = timeout(PATIENCE, join_all(requests))
        .await
        .expect("answers");
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect("no panic"))
        .collect();
    assert!(answers.iter().all(|(_, body)| body == "1"));
    assert!(answers.iter().filter(|(collapsed, _)| *collapsed).count() > 90);
    assert_eq!(gate.calls(), 1);
}

#[tokio::test]
async fn one_asks_for_all_who_want_the_same_variant() {
    let (_server, redis) = redis().await;
    let gate = Gate::new();
    let varying = |_| {
        let fields = [("cache-control", "max-age=60"), ("vary", "foo")];
        Ok::<_, Infallible>(reply(&fields, "x"))
    };
    let service = CacheLayer::new(redis.clone()).layer(gate.service(varying));
    let requests: Vec<_> = (0..60)
        .map(|number| {
            let foo = (number % 3).to_string();
            let asked = request("GET", "/", &[("foo", &foo)]);
            let service = service.clone();
            tokio::spawn(
                async move { read(service.oneshot(asked).await.expect("an answer")).await },
            )
        })
        .collect();
    gate.called(1).await;
    settle(&redis).await;
    gate.open.add_permits(60);
    for answer in timeout(PATIENCE, join_all(requests))
        .await
        .expect("answers")
    {
        assert_eq!(answer.expect("no panic").expect("a body"), "x");
    }
    assert!(gate.calls() <= 4, "{}", gate.calls());
}

#[tokio::test]
async fn what_is_not_storable_is_given_to_nobody_else_and_holds_nobody_up() {
    let (_server, redis) = redis().await;
    let gate = Gate::new();
    let private = |number: usize| {
        let cookie = format!("sid={number}");
        let fields = [("cache-control", "max-age=60"), ("set-cookie", &*cookie)];
        Ok::<_, Infallible>(reply(&fields, number.to_string()))
    };
    let service = CacheLayer::new(redis.clone()).layer(gate.service(private));
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move {
                let response = service
                    .oneshot(request("GET", "/", &[]))
                    .await
                    .expect("an answer");
                let cookie = response.headers()["set-cookie"].clone();
                assert!(!status(&response).is_collapsed());
                (cookie, read(response).await.expect("a body"))
            })
        })
        .collect();
    gate.called(1).await;
    gate.open.add_permits(1);
    // All the others ask at the same time: none waits for another one's answer.
    gate.called(50).await;
    gate.open.add_permits(49);
    let mut bodies = Vec::new();
    for answer in timeout(PATIENCE, join_all(requests))
        .await
        .expect("answers")
    {
        let (cookie, body) = answer.expect("no panic");
        assert_eq!(cookie, format!("sid={}", String::from_utf8_lossy(&body)));
        bodies.push(body);
    }
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 50);
}

#[tokio::test]
async fn a_client_that_leaves_hands_over() {
    let (_server, redis) = redis().await;
    let gate = Gate::new();
    let service = CacheLayer::new(redis.clone()).layer(gate.service(numbered));
    let first = tokio::spawn(service.clone().oneshot(request("GET", "/", &[])));
    gate.called(1).await;
    let second = tokio::spawn(service.clone().oneshot(request("GET", "/", &[])));
    settle(&redis).await;
    assert_eq!(gate.calls(), 1);
    first.abort();
    gate.called(2).await;
    gate.open.add_permits(1);
    let answer = timeout(PATIENCE, second)
        .await
        .expect("in time")
        .expect("no panic");
    assert_eq!(read(answer.expect("an answer")).await.expect("a body"), "2");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_body_leaves_no_half_of_it() {
    let (_server, redis) = redis().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let halves = service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let parts =
            stream::iter(["one ", "two"]).map(|part| Ok::<_, Infallible>(Bytes::from(part)));
        let response = reply(&[("cache-control", "max-age=60")], Body::from_stream(parts));
        async { Ok::<_, Infallible>(response) }
    });
    let service = CacheLayer::new(redis.clone()).layer(halves);
    let mut left = service
        .clone()
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer")
        .into_body();
    left.frame().await.expect("a frame").expect("data");
    let waiting = tokio::spawn(service.clone().oneshot(request("GET", "/", &[])));
    settle(&redis).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    drop(left);
    let answer = timeout(PATIENCE, waiting)
        .await
        .expect("in time")
        .expect("no panic");
    assert_eq!(
        read(answer.expect("an answer")).await.expect("a body"),
        "one two"
    );
    settle(&redis).await;
    let hit = service
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer");
    assert!(is_hit(&hit));
    assert_eq!(read(hit).await.expect("a body"), "one two");
}

#[tokio::test]
async fn a_slow_reader_gets_all_and_nobody_waits_for_it() {
    let (_server, redis) = redis().await;
    let parts = || {
        stream::iter(["one ", "two ", "three"]).then(|part| async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(Bytes::from(part))
        })
    };
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let streaming = service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let response = reply(
            &[("cache-control", "max-age=60")],
            Body::from_stream(parts()),
        );
        async { Ok::<_, Infallible>(response) }
    });
    let service = CacheLayer::new(redis.clone()).layer(streaming);
    let mut slow = service
        .clone()
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer")
        .into_body();
    let mut begin = Vec::new();
    while begin.len() < 4 {
        let frame = slow.frame().await.expect("a frame").expect("data");
        begin.extend(frame.into_data().expect("data"));
    }
    let waiting: Vec<_> = (0..10)
        .map(|_| tokio::spawn(service.clone().oneshot(request("GET", "/", &[]))))
        .collect();
    for answer in timeout(PATIENCE, join_all(waiting)).await.expect("in time") {
        let answer = answer.expect("no panic").expect("an answer");
        assert_eq!(read(answer).await.expect("a body"), "one two three");
    }
    begin.extend(slow.collect().await.expect("the rest").to_bytes());
    assert_eq!(begin, b"one two three");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_failing_handler_fails_for_each_and_leaves_nothing() {
    let (_server, redis) = redis().await;
    let gate = Gate::new();
    let failing = |number: usize| match number {
        1..=3 => Err("down"),
        number => Ok(numbered(number).unwrap_or_else(|never| match never {})),
    };
    let service = CacheLayer::new(redis.clone()).layer(gate.service(failing));
    let requests: Vec<_> = (0..3)
        .map(|_| tokio::spawn(service.clone().oneshot(request("GET", "/", &[]))))
        .collect();
    gate.called(1).await;
    gate.open.add_permits(3);
    for answer in timeout(PATIENCE, join_all(requests))
        .await
        .expect("in time")
    {
        assert_eq!(answer.expect("no panic").expect_err("an error"), "down");
    }
    gate.open.add_permits(1);
    let answer = service
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer");
    assert_eq!(read(answer).await.expect("a body"), "4");
}

#[tokio::test]
async fn a_body_that_breaks_breaks_for_one_and_is_made_again_for_the_others() {
    let (_server, redis) = redis().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let breaking = service_fn(move |_: Request<Body>| {
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        let end = if number == 1 {
            Err("broken")
        } else {
            Ok(Bytes::from("two"))
        };
        let parts = stream::iter([Ok(Bytes::from("one ")), end]);
        let response = reply(&[("cache-control", "max-age=60")], Body::from_stream(parts));
        async { Ok::<_, Infallible>(response) }
    });
    let service = CacheLayer::new(redis.clone()).layer(breaking);
    let first = service
        .clone()
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer");
    let waiting = tokio::spawn(service.clone().oneshot(request("GET", "/", &[])));
    settle(&redis).await;
    read(first).await.expect_err("broken");
    let answer = timeout(PATIENCE, waiting)
        .await
        .expect("in time")
        .expect("no panic");
    assert_eq!(
        read(answer.expect("an answer")).await.expect("a body"),
        "one two"
    );
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_purge_beats_an_answer_that_is_being_made() {
    let (_server, redis) = redis().await;
    let gate = Gate::new();
    let layer = CacheLayer::new(redis.clone());
    let service = layer.layer(gate.service(numbered));
    let url = "http://shop.example/".parse().expect("a URL");
    // The log has to be there, else nothing is known of before.
    layer.purge().url(&url).await.expect("purged");
    let old = tokio::spawn(service.clone().oneshot(request("GET", "/", &[])));
    gate.called(1).await;
    layer.purge().url(&url).await.expect("purged");
    gate.open.add_permits(1);
    let answer = timeout(PATIENCE, old)
        .await
        .expect("in time")
        .expect("no panic");
    assert_eq!(read(answer.expect("an answer")).await.expect("a body"), "1");
    settle(&redis).await;
    gate.open.add_permits(1);
    let new = service
        .oneshot(request("GET", "/", &[]))
        .await
        .expect("an answer");
    assert!(!is_hit(&new));
    assert_eq!(read(new).await.expect("a body"), "2");
}

#[tokio::test]
async fn a_client_that_wants_a_new_answer_waits_for_nobody() {
    let (_server, redis) = redis().await;
    let gate = Gate::new();
    let service = CacheLayer::new(redis.clone()).layer(gate.service(numbered));
    let fields = [
        ("authorization", "Bearer a"),
        ("range", "bytes=0-0"),
        ("if-none-match", "\"a\""),
        ("cache-control", "no-store"),
    ];
    let first = tokio::spawn(service.clone().oneshot(request("GET", "/", &[])));
    gate.called(1).await;
    let others: Vec<_> = fields
        .iter()
        .map(|field| tokio::spawn(service.clone().oneshot(request("GET", "/", &[*field]))))
        .collect();
    gate.called(5).await;
    gate.open.add_permits(5);
    for answer in timeout(PATIENCE, join_all(others)).await.expect("in time") {
        let answer = answer.expect("no panic").expect("an answer");
        assert!(!status(&answer).is_collapsed());
    }
    first.await.expect("no panic").expect("an answer");
}

/// The next client waited for 20 s, and those of another process for 10 s.
#[tokio::test]
async fn a_request_that_makes_no_progress_holds_nobody_for_long() {
    let (_server, redis) = redis().await;
    for path in ["/handler", "/body"] {
        let gate = Gate::new();
        let service = gate.service(|_| {
            let parts = stream::iter(["one ", "two"]);
            let parts = parts.map(|part| Ok::<_, Infallible>(Bytes::from(part)));
            let fields = [("cache-control", "max-age=60")];
            Ok::<_, Infallible>(reply(&fields, Body::from_stream(parts)))
        });
        let here = CacheLayer::new(redis.clone()).layer(service.clone());
        let there = CacheLayer::new(redis.clone()).layer(service);
        let mut first = Box::pin(here.clone().oneshot(request("GET", path, &[])));
        tokio::select! {
            biased;
            _ = &mut first => panic!("the gate is closed"),
            () = gate.called(1) => {}
        }
        // Its handler is not polled any more, or its body is not read.
        let mut unread = None;
        if path == "/body" {
            gate.open.add_permits(1);
            unread = Some(first.as_mut().await.expect("an answer").into_body());
        }
        gate.open.add_permits(20);
        let others = [&here, &here, &there, &there];
        let others = others.map(|service| async {
            let response = service.clone().oneshot(request("GET", path, &[])).await;
            read(response.expect("an answer")).await.expect("a body")
        });
        let bodies = timeout(Duration::from_secs(8), join_all(others));
        let bodies = bodies.await.expect("within a second or two");
        assert!(bodies.iter().all(|body| body == "one two"), "{path}");
        drop(unread);
    }
}

/// They waited for one another, as each process waited for the lease of the one before.
#[tokio::test]
async fn in_other_processes_too_nobody_takes_turns_when_nothing_is_stored() {
    let (_server, redis) = redis().await;
    for path in ["/fails", "/private"] {
        let gate = Gate::new();
        let service = gate.service(move |number| match path {
            "/fails" => Err("down"),
            _ => Ok(reply(&[("cache-control", "private")], number.to_string())),
        });
        let stores: Vec<_> = (0..4)
            .map(|_| CacheLayer::new(redis.clone()).layer(service.clone()))
            .collect();
        let ask = |number: usize| {
            tokio::spawn(
                stores[number % 4]
                    .clone()
                    .oneshot(request("GET", path, &[])),
            )
        };
        let first = ask(0);
        gate.called(1).await;
        let others: Vec<_> = (0..12).map(ask).collect();
        // Until they all wait for it, in Redis too.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(gate.calls(), 1, "{path}");
        gate.open.add_permits(1);
        // All ask before any of them has an answer.
        let called = timeout(Duration::from_secs(8), gate.called(13)).await;
        called.expect("all at once");
        gate.open.add_permits(12);
        let answers = timeout(PATIENCE, join_all(others)).await.expect("answers");
        let fail = |answer: Result<Result<_, _>, _>| answer.expect("no panic").is_err();
        assert!(
            answers
                .into_iter()
                .all(|answer| fail(answer) == (path == "/fails"))
        );
        assert_eq!(fail(first.await), path == "/fails");
    }
}

/// 64 slow ones, and no other entry was ever made anew.
#[tokio::test]
async fn slow_refreshes_leave_others_their_turn() {
    let (server, redis) = redis().await;
    let gate = Gate::new();
    let stale = |number: usize| {
        let fields = [("cache-control", "max-age=1, stale-while-revalidate=600")];
        Ok::<_, Infallible>(reply(&fields, number.to_string()))
    };
    let layer = CacheLayer::new(redis.clone()).background_refreshes(2);
    let service = layer.layer(gate.service(stale));
    let ask = async |number: usize| {
        let path = format!("/{number}");
        let response = service.clone().oneshot(request("GET", &path, &[])).await;
        read(response.expect("an answer")).await.expect("a body");
    };
    gate.open.add_permits(6);
    for number in 0..6 {
        ask(number).await;
    }
    settle(&redis).await;
    super::travel(&server, &redis, Duration::from_secs(2)).await;
    for number in (0..6).cycle().take(18) {
        ask(number).await;
    }
    gate.called(8).await;
    settle(&redis).await;
    assert_eq!(gate.calls(), 8);
    gate.open.add_permits(6);
    gate.called(12).await;
}

const PATIENCE: Duration = Duration::from_secs(30);
