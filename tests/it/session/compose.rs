//! Over axum, plain hyper, tower-test's mock and a concurrency limit.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_fred::{Error, Session, session::SessionStore};
use tower_test::mock;

use super::browser::stage;
use crate::support::{Server, http::HttpServer};

async fn visits(session: Session) -> Result<String, Error> {
    let visits = session.get::<u64>("visits").await?.unwrap_or(0) + 1;
    session.insert("visits", &visits)?;
    Ok(visits.to_string())
}

/// `name=value` of the one cookie that was set.
fn cookie(response: &Response<Bytes>) -> String {
    let cookie = response.headers()[header::SET_COOKIE]
        .to_str()
        .expect("text");
    cookie.split(';').next().expect("a pair").to_owned()
}

#[tokio::test]
async fn an_axum_handler_takes_the_session_as_an_argument() {
    let server = Server::start();
    let (layer, ..) = stage(&server).await;
    let app = HttpServer::axum(Router::new().route("/", get(visits)).layer(layer)).await;
    let first = app.get("/", &[]).await;
    assert_eq!(first.body(), "1");
    let cookie = cookie(&first);
    for expected in ["2", "3"] {
        let next = app.get("/", &[("cookie", &cookie)]).await;
        assert_eq!(next.body(), expected);
        assert!(!next.headers().contains_key(header::SET_COOKIE));
    }

    server.kill();
    let down = app.get("/", &[("cookie", &cookie)]).await;
    assert_eq!(down.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(down.headers()[header::RETRY_AFTER], "1");
    assert!(!down.headers().contains_key(header::SET_COOKIE));
}

#[tokio::test]
async fn without_the_layer_the_extractor_says_what_to_do() {
    let app = HttpServer::axum(Router::new().route("/", get(visits))).await;
    let response = app.get("/", &[]).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = std::str::from_utf8(response.body()).unwrap();
    assert!(body.contains("SessionLayer"), "{body}");
}

#[tokio::test]
async fn it_works_on_plain_hyper() {
    let server = Server::shared();
    let (layer, ..) = stage(&server).await;
    let service = ServiceBuilder::new().layer(layer).service(service_fn(
        |request: Request<hyper::body::Incoming>| async move {
            let session = request.extensions().get::<Session>().unwrap().clone();
            let text = visits(session).await.unwrap();
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
        },
    ));
    let app = HttpServer::hyper(service).await;
    let first = app.get("/", &[]).await;
    let cookie = cookie(&first);
    let second = app.get("/", &[("cookie", &cookie)]).await;
    assert_eq!(
        (first.body().as_ref(), second.body().as_ref()),
        (&b"1"[..], &b"2"[..])
    );
}

#[tokio::test]
async fn it_uses_the_service_that_was_made_ready() {
    let server = Server::shared();
    let (layer, redis, _) = stage(&server).await;
    let (mut service, mut handle) =
        mock::spawn_with(|mock: mock::Mock<Request<()>, Response<Full<Bytes>>>| {
            tower::Layer::layer(&layer, mock)
        });
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    let response = tokio::spawn(service.call(Request::new(())));
    let (request, respond) = handle.next_request().await.unwrap();
    let session = request.extensions().get::<Session>().unwrap();
    session.login("alice").unwrap();
    respond.send_response(Response::new(Full::new(Bytes::from_static(b"body"))));
    let response = response.await.unwrap().unwrap();
    let set = response.headers()[header::SET_COOKIE].to_str().unwrap();
    let token = set.split(['=', ';']).nth(1).unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "body");
    let record = SessionStore::new(redis)
        .load(&token)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(record.user(), Some("alice"));
    assert!(service.poll_ready().is_pending());
}

#[tokio::test]
async fn an_error_of_the_service_is_passed_on_and_a_logout_before_it_counts() {
    let server = Server::shared();
    let (layer, redis, keys) = stage(&server).await;
    let store = SessionStore::new(redis);
    let token = store.create(&serde_json::json!({ "a": 1 })).await.unwrap();
    let value = token.cookie_value();
    for logout in [false, true] {
        let service = tower::Layer::layer(
            &layer,
            service_fn(move |request: Request<()>| async move {
                let session = request.extensions().get::<Session>().unwrap();
                session.insert("a", &2).unwrap();
                if logout {
                    session.logout();
                }
                Err::<Response<Full<Bytes>>, _>(std::io::Error::other("broken"))
            }),
        );
        let request = Request::get("/").header(header::COOKIE, format!("__Host-id={value}"));
        let result = service.oneshot(request.body(()).unwrap()).await;
        assert_eq!(result.unwrap_err().to_string(), "broken");
        assert_eq!(keys.exists(&value).await, !logout);
        if !logout {
            assert_eq!(keys.field(&value, "a").await.unwrap(), b"1");
        }
    }
}

#[tokio::test]
async fn it_works_over_a_concurrency_limit_of_one() {
    let server = Server::shared();
    let (layer, ..) = stage(&server).await;
    let running = Arc::new(Mutex::new(0_u32));
    let service = ServiceBuilder::new()
        .layer(layer)
        .concurrency_limit(1)
        .service(service_fn(move |request: Request<()>| {
            let running = Arc::clone(&running);
            async move {
                *running.lock().unwrap() += 1;
                assert_eq!(*running.lock().unwrap(), 1);
                let session = request.extensions().get::<Session>().unwrap().clone();
                let text = visits(session).await.unwrap();
                *running.lock().unwrap() -= 1;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
            }
        }));
    let requests = (0..8).map(|_| {
        let mut service = service.clone();
        async move {
            let ready = service.ready().await.unwrap();
            ready.call(Request::new(())).await.unwrap()
        }
    });
    for response in futures_util::future::join_all(requests).await {
        assert!(response.headers().contains_key(header::SET_COOKIE));
    }
}

#[tokio::test]
async fn the_layer_may_be_applied_many_times_and_shares_its_state() {
    let server = Server::shared();
    let (layer, ..) = stage(&server).await;
    // axum applies it once for each method of each route.
    let app = Router::new()
        .route("/a", get(visits).post(visits))
        .route("/b", get(visits))
        .layer(layer);
    let app = HttpServer::axum(app).await;
    let first = app.get("/a", &[]).await;
    let cookie = cookie(&first);
    let second = app.get("/b", &[("cookie", &cookie)]).await;
    assert_eq!(second.body(), "2");
}
