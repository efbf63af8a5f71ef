//! Sessions beside the commands that they send.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{Redis, Session, SessionLayer};

use crate::{
    baselines::{BODY, page, request},
    harness::Case,
};

pub(crate) async fn cases(redis: &Redis) -> Vec<Case> {
    let cookie = session_cookie(redis).await;
    let with = |handler: Handler| {
        SessionLayer::new(redis.clone()).layer(service_fn(move |request| run(handler, request)))
    };
    let anonymous = request();
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
            request.clone(),
        ),
        Case::service(
            "session, addition",
            &["bare + EVALSHA"],
            with(Handler::Add),
            request,
        ),
        // Three scripts: one creates the session, one adds it to the user's index, one makes it the user's.
        Case::service(
            "session, login",
            &["bare + EVALSHA", "bare + EVALSHA", "bare + EVALSHA"],
            with(Handler::LogIn),
            anonymous,
        ),
    ]
}

#[derive(Clone, Copy)]
enum Handler {
    Untouched,
    Read,
    Write,
    ReadAndWrite,
    Add,
    LogIn,
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
    match handler {
        Handler::Add => drop(session.incr("sum", 1).await.expect("a sum")),
        // Another user each time, as usual.
        Handler::LogIn => {
            let user = NEXT_USER.fetch_add(1, Ordering::Relaxed);
            session.login(user.to_string()).expect("a login");
        }
        _ => {}
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
        .oneshot(request().map(|_| Full::default()))
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

static NEXT_USER: AtomicU64 = AtomicU64::new(0);
