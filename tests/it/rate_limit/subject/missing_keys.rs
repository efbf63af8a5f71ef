//! Requests without a key, and requests whose key nobody can look up.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, body::Body, routing::get};
use http::{Request, Response, StatusCode, request::Parts};
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    RateLimitLayer, Redis, Session, SessionLayer, SessionUser,
    rate_limit::{
        AsyncKey, BearerToken, Header, Key, MatchedPath, Method, PeerAddr, PeerIp, Policy, Quota,
    },
};

use crate::{
    rate_limit::patient,
    support::{Server, http::HttpServer},
};

const OK: StatusCode = StatusCode::OK;
const DENIED: StatusCode = StatusCode::TOO_MANY_REQUESTS;
const BAD: StatusCode = StatusCode::BAD_REQUEST;
const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

const TWO: Quota = Quota::per_day(2);

fn from(peer: &str, path: &str) -> Request<Body> {
    let mut request = Request::get(path).body(Body::empty()).expect("a request");
    let ip: std::net::IpAddr = peer.parse().expect("an address");
    request.extensions_mut().insert(PeerAddr((ip, 1).into()));
    request
}

async fn statuses<K: Key>(
    layer: &RateLimitLayer<K>,
    requests: impl IntoIterator<Item = Request<Body>>,
) -> Vec<StatusCode> {
    let service = layer.layer(service_fn(async |_: Request<Body>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(service.clone().oneshot(request).await.unwrap().status());
    }
    statuses
}

/// A key whose owner cannot be found while the switch is set.
fn owner(fails: &Arc<AtomicBool>) -> AsyncKey {
    let fails = Arc::clone(fails);
    AsyncKey::try_new(move |request: &Parts| {
        let path = request.uri.path().to_owned();
        let fails = fails.load(Ordering::Relaxed);
        async move {
            match fails {
                true => Err(io::Error::other("the database is away")),
                false => Ok(path.strip_prefix("/of/").map(str::to_owned)),
            }
        }
    })
}

/// A search that failed counted as a request without a key: one setting let everything through, another answered 400 to
/// everybody, and the default put all into one budget.
#[tokio::test]
async fn a_key_that_cannot_be_looked_up_is_not_a_missing_key() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let fails = Arc::new(AtomicBool::new(true));
    let new = |name: &str| RateLimitLayer::new(redis.clone(), Policy::new(name, TWO));
    let requests = || (0..5).map(|_| from("192.0.2.1", "/of/ada"));
    for (name, missing) in [("share", 0), ("allow", 1), ("deny", 2)] {
        let layer = new(name).by(owner(&fails));
        let layer = match missing {
            0 => layer.missing_key_shared(),
            1 => layer.missing_key_allow(),
            _ => layer.missing_key_deny(),
        };
        let tuple = new(&format!("{name}-tuple")).by((owner(&fails), Method));
        fails.store(true, Ordering::Relaxed);
        let closed = layer.clone().fail_closed();
        assert_eq!(
            statuses(&closed, requests()).await,
            [UNAVAILABLE; 5],
            "{name}"
        );
        let closed = tuple.clone().fail_closed();
        assert_eq!(
            statuses(&closed, requests()).await,
            [UNAVAILABLE; 5],
            "{name}"
        );
        for open in [layer.clone().fail_open(), layer.clone().fail_local()] {
            assert_eq!(statuses(&open, requests()).await, [OK; 5], "{name}");
        }
        assert_eq!(statuses(&tuple.fail_open(), requests()).await, [OK; 5]);
        // Nothing of that was counted, and what can be looked up is.
        fails.store(false, Ordering::Relaxed);
        let found = statuses(&layer.fail_closed(), requests()).await;
        assert_eq!(found, [OK, OK, DENIED, DENIED, DENIED], "{name}");
    }
}

#[tokio::test]
async fn the_other_keys_count_what_one_cannot_look_up() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let fails = Arc::new(AtomicBool::new(true));
    let layer = RateLimitLayer::new(redis, Policy::new("address", TWO))
        .and_by(owner(&fails), Policy::new("owner", Quota::per_day(1)))
        .missing_key_deny();
    let requests = || (0..3).map(|_| from("192.0.2.1", "/of/ada"));
    let counted = statuses(&layer.clone().fail_open(), requests()).await;
    assert_eq!(counted, [OK, OK, DENIED]);
    let closed = statuses(&layer.fail_closed(), [from("192.0.2.9", "/of/ada")]).await;
    assert_eq!(closed, [UNAVAILABLE]);
}

/// The user of a session cannot be looked up while Redis is away.
#[tokio::test]
async fn users_whose_session_cannot_be_read_are_not_strangers() {
    let server = Server::start();
    let redis = server.redis().await;
    let limit = |path: &'static str| {
        let layer = RateLimitLayer::new(redis.clone(), Policy::new(path, TWO)).by(SessionUser);
        (path, layer)
    };
    let mine = || get(async || "mine");
    let (closed, strict) = limit("/closed");
    let (open, lenient) = limit("/open");
    let (local, default) = limit("/local");
    let router = Router::new()
        .route(
            "/login",
            get(async |session: Session| session.login("ada").map(|()| "in")),
        )
        .route(
            closed,
            mine().layer(strict.missing_key_allow().fail_closed()),
        )
        .route(open, mine().layer(lenient.missing_key_deny().fail_open()))
        .route(local, mine().layer(default))
        .layer(SessionLayer::new(redis.clone()));
    let web = HttpServer::axum(router).await;
    let login = web.get("/login", &[]).await;
    let cookie = login.headers()["set-cookie"].to_str().expect("text");
    let cookie = [("cookie", cookie.split(';').next().expect("a cookie"))];
    assert_eq!(web.get(open, &cookie).await.status(), OK);
    server.kill();
    for (path, expected) in [(closed, UNAVAILABLE), (open, OK), (local, OK)] {
        for _ in 0..4 {
            let status = web.get(path, &cookie).await.status();
            assert_eq!(status, expected, "{path}");
        }
    }
}

/// `missing_key_allow` was for all keys of a layer, so that a missing peer address lifted the limit by address.
#[tokio::test]
async fn what_to_do_without_a_key_is_said_for_each_key() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let policy = |name: &str| Policy::new(name, TWO);
    let nobody = || (0..4).map(|_| Request::new(Body::empty()));
    let limited = [OK, OK, DENIED, DENIED];

    let both = RateLimitLayer::new(redis.clone(), policy("address"))
        .and_by(SessionUser, policy("user"))
        .missing_key_allow()
        .fail_closed();
    assert_eq!(statuses(&both, nobody()).await, limited);

    let name = http::HeaderName::from_static("x-key");
    let own_allowed = RateLimitLayer::new(redis.clone(), policy("own"))
        .by(Header::new(name.clone()))
        .missing_key_allow()
        .and_by(BearerToken, policy("token"))
        .fail_closed();
    assert_eq!(statuses(&own_allowed, nobody()).await, limited);

    let third = RateLimitLayer::new(redis.clone(), policy("one"))
        .missing_key_allow()
        .and_by(BearerToken, policy("two"))
        .missing_key_allow()
        .and_by(Header::new(name.clone()), policy("three"))
        .missing_key_deny()
        .fail_closed();
    assert_eq!(statuses(&third, nobody()).await, [BAD; 4]);
    assert_eq!(
        statuses(&third.missing_key_allow(), nobody()).await,
        [OK; 4]
    );

    // The layer's own key is the one that was named last here.
    let own_last = RateLimitLayer::new(redis, policy("four"))
        .and_by(BearerToken, policy("five"))
        .missing_key_allow()
        .by(Header::new(name))
        .missing_key_deny()
        .fail_closed();
    assert_eq!(statuses(&own_last, nobody()).await, [BAD; 4]);
}

/// All clients shared one budget where axum has no route: on a fallback, in a nested service, for files.
#[tokio::test]
async fn a_tuple_with_a_missing_part_keeps_the_others_apart() {
    let server = Server::shared();
    let redis = patient(&server).await;
    let layer =
        |name: &str| RateLimitLayer::new(redis.clone(), Policy::new(name, TWO)).fail_closed();
    let plain =
        || service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let routers = [
        Router::new()
            .fallback(async || "nothing here")
            .layer(layer("fallback").by((PeerIp, MatchedPath))),
        Router::new().fallback_service(layer("service").by((PeerIp, MatchedPath)).layer(plain())),
        Router::new().nest_service(
            "/files",
            layer("nested").by((PeerIp, MatchedPath)).layer(plain()),
        ),
    ];
    for router in routers {
        for peer in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            for expected in [OK, OK, DENIED] {
                let request = from(peer, "/files/a.css");
                let response = router.clone().oneshot(request).await.expect("infallible");
                assert_eq!(response.status(), expected, "{peer}");
            }
        }
    }

    // Whichever part is missing, in tuples of tuples, and where parts are searched for.
    let none = Arc::new(AtomicBool::new(false));
    let nested = layer("deep").by(((PeerIp, BearerToken), MatchedPath));
    let searched = layer("searched").by((PeerIp, owner(&none)));
    let first = layer("first").by((owner(&none), PeerIp, Method));
    for peer in ["192.0.2.1", "192.0.2.2"] {
        let requests = || (0..3).map(|_| from(peer, "/"));
        let apart = [OK, OK, DENIED];
        assert_eq!(statuses(&nested, requests()).await, apart, "{peer}");
        assert_eq!(statuses(&searched, requests()).await, apart, "{peer}");
        assert_eq!(statuses(&first, requests()).await, apart, "{peer}");
    }
    // Missing is not the same as there.
    let there = statuses(&searched, [from("192.0.2.1", "/of/ada")]).await;
    assert_eq!(there, [OK]);
    // And it is missing: the other settings hold.
    let denying = searched.clone().missing_key_deny();
    assert_eq!(statuses(&denying, [from("192.0.2.3", "/")]).await, [BAD]);
    let allowing = searched.missing_key_allow();
    assert_eq!(
        statuses(&allowing, (0..3).map(|_| from("192.0.2.3", "/"))).await,
        [OK; 3]
    );
}

/// The redis that is used by nobody else: nothing of a handle is left in the budgets of missing keys.
#[tokio::test]
async fn requests_without_any_part_share_one_budget() {
    let server = Server::shared();
    let redis: Redis = patient(&server).await;
    let layer = RateLimitLayer::new(redis, TWO)
        .by((PeerIp, BearerToken))
        .fail_closed();
    let requests = (0..4).map(|_| Request::new(Body::empty()));
    assert_eq!(statuses(&layer, requests).await, [OK, OK, DENIED, DENIED]);
}
