//! Sessions beside the reads and writes that they are made of.

use std::convert::Infallible;

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
