//! Keys: header fields, tokens, functions, own types, routes and users.

use axum::{Router, routing::get};
use http::{HeaderName, Request, StatusCode, request::Parts};
use tower_fred::{
    RateLimitLayer,
    rate_limit::{
        AsyncKey, BearerToken, Header, Identity, Key, MatchedPath, Method, PeerIp, Policy, Quota,
        RateLimiter,
    },
};

use super::{DENIED, OK, TWO, limit, socket, statuses, with};
use crate::{
    rate_limit::patient,
    support::{Server, http::HttpServer},
};

#[tokio::test]
async fn a_header_field() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let name = HeaderName::from_static("x-api-key");
    let layer = limit(redis, TWO).by(Header::new(name.clone()));
    let long = vec![b'k'; 64 * 1024];
    let values: [&[u8]; 5] = [b"k1", b"k2", b"", b"\xff\xfe", &long];
    for value in values {
        let request = || {
            Request::get("/")
                .header(&name, value)
                .header(&name, "second")
        };
        let requests = (0..3)
            .map(|_| request().body(String::new()).unwrap())
            .collect();
        assert_eq!(statuses(&layer, requests).await, [OK, OK, DENIED]);
    }
}

#[tokio::test]
async fn functions_and_own_types() {
    struct Tenant;

    impl Key for Tenant {
        fn identity(&self, request: &Parts) -> Option<Identity> {
            Some(request.uri.path().into())
        }
    }

    let server = Server::shared();
    let redis = patient(&server).await;
    let by_path = |path: &str| Request::get(path).body(String::new()).unwrap();
    let text = limit(redis.clone(), TWO).by(|parts: &Parts| Some(parts.uri.path().to_owned()));
    let number = limit(redis.clone(), TWO).by(|_: &Parts| Some(7));
    let own = limit(redis.clone(), TWO).by(Tenant);

    assert_eq!(
        statuses(&text, vec![by_path("/a"), by_path("/b")]).await,
        [OK, OK]
    );
    assert_eq!(
        statuses(&number, vec![by_path("/a"), by_path("/b"), by_path("/c")]).await,
        [OK, OK, DENIED]
    );
    // The same text is the same subject, whoever asks.
    assert_eq!(
        statuses(&own, vec![by_path("/a"), by_path("/a")]).await,
        [OK, DENIED]
    );
    let limiter = RateLimiter::new(redis, TWO);
    assert_eq!(limiter.check("/b").await.unwrap().remaining(), 0);
}

#[tokio::test]
async fn requests_without_a_key() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let requests = || {
        (0..4)
            .map(|_| Request::new(String::new()))
            .collect::<Vec<_>>()
    };
    let layer = limit(redis, TWO);
    let allow = layer.clone().missing_key_allow();
    assert_eq!(statuses(&allow, requests()).await, [OK; 4]);
    let deny = layer.clone().missing_key_deny();
    assert_eq!(
        statuses(&deny, requests()).await,
        [StatusCode::BAD_REQUEST; 4]
    );
    // The default holds the limit, for all of them together.
    assert_eq!(statuses(&layer, requests()).await, [OK, OK, DENIED, DENIED]);
    assert_eq!(
        statuses(&layer, vec![with(socket("192.0.2.1"))]).await,
        [OK]
    );
    let shared = deny.missing_key_shared();
    assert_eq!(statuses(&shared, requests()).await, [DENIED; 4]);
}

#[tokio::test]
async fn tokens_methods_and_tuples() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let request = |method: &str, authorization: &str| {
        let request = Request::builder().method(method);
        request
            .header("authorization", authorization)
            .body(String::new())
            .unwrap()
    };
    let tokens = limit(redis.clone(), TWO).name("token").by(BearerToken);
    let requests = vec![
        request("GET", "Bearer a"),
        request("GET", "bearer  a "),
        request("GET", "BEARER a"),
        request("GET", "Bearer b"),
    ];
    assert_eq!(statuses(&tokens, requests).await, [OK, OK, DENIED, OK]);
    let denying = tokens.missing_key_deny();
    for other in ["Basic a", "Bearer", "Bearer ", "a"] {
        let status = statuses(&denying, vec![request("GET", other)]).await;
        assert_eq!(status, [StatusCode::BAD_REQUEST], "{other}");
    }

    let both = limit(redis.clone(), Quota::per_day(1))
        .name("both")
        .by((BearerToken, Method));
    let requests = [
        ("GET", "a"),
        ("POST", "a"),
        ("GET", "b"),
        ("GET", "a"),
        ("POST", "a"),
    ];
    let requests = requests.map(|(method, token)| request(method, &format!("Bearer {token}")));
    assert_eq!(
        statuses(&both, requests.into()).await,
        [OK, OK, OK, DENIED, DENIED]
    );
    // Without one of the parts there is no key.
    let denying = both.missing_key_deny();
    let status = statuses(&denying, vec![request("GET", "Basic a")]).await;
    assert_eq!(status, [StatusCode::BAD_REQUEST]);
}

#[tokio::test]
async fn keys_that_have_to_be_looked_for() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let owner = || {
        AsyncKey::new(|request: &Parts| {
            let path = request.uri.path().to_owned();
            async move {
                tokio::task::yield_now().await;
                path.strip_prefix("/of/")?.parse::<u64>().ok()
            }
        })
    };
    let get = |path: &str| Request::get(path).body(String::new()).unwrap();
    let layer = limit(redis.clone(), Quota::per_day(1))
        .by(owner())
        .missing_key_deny();
    let requests = vec![get("/of/1"), get("/of/2"), get("/of/1"), get("/of/nobody")];
    let found = [OK, OK, DENIED, StatusCode::BAD_REQUEST];
    assert_eq!(statuses(&layer, requests).await, found);
    assert!(
        !RateLimiter::new(redis.clone(), Quota::per_day(1))
            .check(1)
            .await
            .unwrap()
            .is_allowed()
    );

    let both = limit(redis, Quota::per_day(1))
        .name("both")
        .by((Method, owner()));
    let requests = vec![
        get("/of/1"),
        Request::post("/of/1").body(String::new()).unwrap(),
        get("/of/1"),
    ];
    assert_eq!(statuses(&both, requests).await, [OK, OK, DENIED]);
}

#[tokio::test]
async fn routes_and_session_users() {
    use tower_fred::{Session, SessionLayer, SessionUser};

    let server = Server::shared();
    let redis = patient(&server).await;
    let by_route = RateLimitLayer::new(redis.clone(), Policy::new("route", Quota::per_day(3)))
        .by((PeerIp, MatchedPath))
        .fail_closed();
    let by_user = RateLimitLayer::new(redis.clone(), Policy::new("user", TWO))
        .by(SessionUser)
        .missing_key_allow()
        .fail_closed();
    let login = async |session: Session| session.login("ada").map(|()| "welcome");
    let router = Router::new()
        .route("/items/{id}", get(async || "an item").layer(by_route))
        .route("/mine", get(async || "mine").layer(by_user))
        .route("/login", get(login))
        .layer(SessionLayer::new(redis));
    let server = HttpServer::axum(router).await;
    for (path, expected) in [
        ("/items/1", OK),
        ("/items/2", OK),
        ("/items/3", OK),
        ("/items/4", DENIED),
    ] {
        assert_eq!(server.get(path, &[]).await.status(), expected, "{path}");
    }
    // Nobody is logged in: not counted.
    for _ in 0..4 {
        assert_eq!(server.get("/mine", &[]).await.status(), OK);
    }
    // Two sessions of one user.
    let mut expected = [OK, OK, DENIED].into_iter();
    for devices in [2, 1] {
        let answer = server.get("/login", &[]).await;
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap();
        for _ in 0..devices {
            let status = server.get("/mine", &[("cookie", cookie)]).await.status();
            assert_eq!(Some(status), expected.next());
        }
    }
}
