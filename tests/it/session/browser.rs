use std::{
    convert::Infallible,
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use cookie_store::{CookieError, CookieStore};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};
use tower_fred::{
    Redis, Session, SessionLayer,
    fred::{
        clients::Client,
        interfaces::{HashesInterface, KeysInterface},
        types::Value,
    },
};
use url::Url;

use crate::support::{
    Server,
    server::namespace,
    topology::{Cluster, run},
};

/// What a request got, and what its handler returned.
pub(super) struct Answer<T> {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    pub(super) value: T,
}

impl<T> Answer<T> {
    pub(super) fn set_cookies(&self) -> Vec<&str> {
        self.all(header::SET_COOKIE)
    }

    pub(super) fn all(&self, name: header::HeaderName) -> Vec<&str> {
        self.headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().expect("text"))
            .collect()
    }

    /// No cookie was set, nor removed.
    pub(super) fn assert_no_cookie(&self) {
        assert!(self.set_cookies().is_empty(), "{:?}", self.set_cookies());
    }

    pub(super) fn assert_removes_cookie(&self) {
        let cookies = self.set_cookies();
        assert_eq!(cookies.len(), 1, "{cookies:?}");
        assert!(cookies[0].starts_with("__Host-id=;"), "{cookies:?}");
        assert!(cookies[0].contains("Max-Age=0"), "{cookies:?}");
    }
}

/// One request with these `Cookie` fields through a service made by `layer` around `handler`.
pub(super) async fn send<T, F, Fut>(
    layer: &SessionLayer,
    cookies: &[&[u8]],
    handler: F,
) -> Answer<T>
where
    F: FnOnce(Session) -> Fut,
    Fut: Future<Output = (StatusCode, T)> + Send + 'static,
    T: Send + 'static,
{
    let (give, take) = tokio::sync::oneshot::channel();
    let mut once = Some((handler, give));
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let (handler, give) = once.take().expect("one request");
        let session = request.extensions().get::<Session>().expect("a session");
        let work = handler(session.clone());
        async move {
            let (status, value) = work.await;
            let _ = give.send(value);
            let mut response = Response::new("handled".to_owned());
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    }));
    let mut request = Request::get("https://shop.example/");
    for cookie in cookies {
        request = request.header(header::COOKIE, *cookie);
    }
    let response = service
        .oneshot(request.body(()).expect("a request"))
        .await
        .expect("a request");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).expect("text"),
        value: take.await.expect("the value"),
    }
}

/// A browser: it sends what its jar holds when a request begins, and keeps what a response sets when it ends.
pub(super) struct Browser {
    layer: SessionLayer,
    jar: Mutex<CookieStore>,
    url: Url,
}

impl Browser {
    pub(super) fn new(layer: &SessionLayer) -> Self {
        Self {
            layer: layer.clone(),
            jar: Mutex::default(),
            url: Url::parse("https://shop.example/").expect("a URL"),
        }
    }

    /// The request and response of one page that answers 200.
    pub(super) async fn visit<T, F, Fut>(&self, handler: F) -> Answer<T>
    where
        F: FnOnce(Session) -> Fut,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.visit_as(StatusCode::OK, handler).await
    }

    /// The request and response of one page that answers `status`.
    pub(super) async fn visit_as<T, F, Fut>(&self, status: StatusCode, handler: F) -> Answer<T>
    where
        F: FnOnce(Session) -> Fut,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let cookie = self.cookie_header();
        let cookies: Vec<&[u8]> = cookie.iter().map(String::as_bytes).collect();
        let answer = send(&self.layer, &cookies, |session| {
            let work = handler(session);
            async move { (status, work.await) }
        })
        .await;
        let mut jar = self.jar.lock().expect("the jar");
        for cookie in answer.set_cookies() {
            // A cookie that the jar refuses is one that a browser refuses.
            match jar.parse(cookie, &self.url) {
                // The removal of one that is not there changes nothing.
                Ok(_) | Err(CookieError::Expired) => {}
                Err(error) => panic!("no valid cookie: {error}"),
            }
        }
        answer
    }

    /// A session with `seed` set to 1, made by a visit.
    pub(super) async fn with_session(layer: &SessionLayer) -> Self {
        let browser = Self::new(layer);
        let answer = browser
            .visit(|session| async move { session.insert("seed", &1).expect("a URL") })
            .await;
        assert_eq!(answer.set_cookies().len(), 1);
        browser
    }

    /// A session of `user`, made by a visit.
    pub(super) async fn logged_in(layer: &SessionLayer, user: &'static str) -> Self {
        let browser = Self::with_session(layer).await;
        browser
            .visit(move |session| async move { session.login(user).expect("the jar") })
            .await;
        browser
    }

    /// Another browser with the same cookies: what a thief of the cookie has.
    pub(super) fn copy(&self) -> Self {
        Self {
            layer: self.layer.clone(),
            jar: Mutex::new(self.jar.lock().expect("the jar").clone()),
            url: self.url.clone(),
        }
    }

    /// Takes over the cookies of another.
    pub(super) fn adopt(&self, other: &Self) {
        let jar = other.jar.lock().expect("the jar").clone();
        *self.jar.lock().expect("the jar") = jar;
    }

    pub(super) fn cookie_header(&self) -> Option<String> {
        let jar = self.jar.lock().expect("a login");
        let pairs: Vec<String> = jar
            .get_request_values(&self.url)
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// The token in the jar.
    pub(super) fn token(&self) -> String {
        let header = self.cookie_header().expect("a cookie");
        header.split_once('=').expect("a pair").1.to_owned()
    }

    pub(super) async fn user(&self) -> Option<String> {
        let answer = self
            .visit(|session| async move { session.user().await.expect("a user") })
            .await;
        answer.value
    }

    pub(super) async fn get(&self, key: &'static str) -> Option<i64> {
        let answer = self
            .visit(move |session| async move { session.get(key).await.expect("a value") })
            .await;
        answer.value
    }

    pub(super) async fn set(&self, key: &'static str, value: i64) -> Answer<()> {
        self.visit(move |session| async move { session.insert(key, &value).expect("an insert") })
            .await
    }

    pub(super) async fn log_out(&self) -> Answer<()> {
        self.visit(|session| async move { session.logout() }).await
    }
}

/// What the tests look at beside the layer: the raw keys.
pub(super) struct Keys {
    pub(super) admin: Client,
    /// Where keys are, when there is more than one server.
    primaries: Vec<Client>,
    namespace: String,
}

/// Where a test runs: on one server, or on a cluster.
pub(super) enum Place {
    Server(Arc<Server>),
    Cluster(Cluster),
}

impl Place {
    pub(super) fn server() -> Self {
        Self::Server(Server::shared())
    }

    /// A handle with a namespace of its own, and time for a machine that is busy.
    pub(super) async fn redis(&self) -> Redis {
        let builder = Redis::builder()
            .namespace(namespace())
            .deadline(Duration::from_secs(10));
        let url = match self {
            Self::Server(server) => server.url(),
            Self::Cluster(cluster) => cluster.url(),
        };
        builder.connect(&url).await.expect("a handle")
    }

    pub(super) async fn stage(&self) -> (SessionLayer, Redis, Keys) {
        let redis = self.redis().await;
        let keys = self.keys(&redis).await;
        (SessionLayer::new(redis.clone()), redis, keys)
    }

    pub(super) async fn keys(&self, redis: &Redis) -> Keys {
        match self {
            Self::Server(server) => Keys::of(server, redis).await,
            Self::Cluster(cluster) => Keys {
                admin: redis.client(),
                primaries: cluster.primaries().to_vec(),
                namespace: redis.namespace().to_owned(),
            },
        }
    }
}

impl Keys {
    pub(super) async fn of(server: &Server, redis: &Redis) -> Self {
        let admin = server.admin().await;
        Self {
            primaries: vec![admin.clone()],
            admin,
            namespace: redis.namespace().to_owned(),
        }
    }

    /// The Redis key of the session that a token names.
    pub(super) fn key(&self, token: &str) -> String {
        format!("{}:s:{{{}}}", self.namespace, selector(token))
    }

    /// Every server that has keys.
    pub(super) fn servers(&self) -> &[Client] {
        &self.primaries
    }

    pub(super) async fn all(&self) -> Vec<String> {
        // The servers of these tests are small.
        let mut keys = Vec::new();
        for primary in &self.primaries {
            let pattern = format!("{}:*", self.namespace);
            let found: Vec<String> = run(primary, "KEYS", &[&pattern]).await.expect("an answer");
            keys.extend(found);
        }
        keys
    }

    /// The keys of sessions, without those of users' lists.
    pub(super) async fn sessions(&self) -> Vec<String> {
        let mut keys = self.all().await;
        keys.retain(|key| key.contains(":s:") || key.contains(":s."));
        keys
    }

    pub(super) async fn exists(&self, token: &str) -> bool {
        self.admin
            .exists::<bool, _>(self.key(token))
            .await
            .expect("an answer")
    }

    pub(super) async fn field(&self, token: &str, field: &str) -> Option<Vec<u8>> {
        let bytes: Option<Bytes> = self
            .admin
            .hget(self.key(token), field)
            .await
            .expect("a field");
        bytes.map(|bytes| bytes.to_vec())
    }

    pub(super) async fn set_field(&self, token: &str, field: &str, value: impl Into<Bytes>) {
        let value: Bytes = value.into();
        let pair = (field.to_owned(), Value::Bytes(value));
        self.admin
            .hset::<(), _, _>(self.key(token), pair)
            .await
            .expect("an answer of redis");
    }

    /// Milliseconds left to live.
    pub(super) async fn left(&self, token: &str) -> i64 {
        self.admin.pttl(self.key(token)).await.expect("an answer")
    }

    /// As if the session had been used last when this is what is left of half an hour.
    pub(super) async fn live_for(&self, token: &str, millis: i64) {
        let seen = now() - (30 * 60_000 - millis);
        self.set_field(token, "!s", seen.to_string()).await;
        self.admin
            .pexpire::<(), _>(self.key(token), millis, None)
            .await
            .expect("an answer of redis");
    }

    /// Every key of the namespace has an end.
    pub(super) async fn assert_all_expire(&self) {
        for key in self.all().await {
            let left: i64 = self.admin.pttl(key.as_str()).await.expect("an end of life");
            // -2: it just met its end.
            assert_ne!(left, -1, "{key} stays for ever");
        }
    }
}

/// This host's clock, in Unix milliseconds.
pub(super) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time after 1970");
    i64::try_from(since.as_millis()).expect("milliseconds")
}

/// The first 16 of a token's 48 bytes, as the id and the key show them.
fn selector(token: &str) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(token).expect("a token");
    URL_SAFE_NO_PAD.encode(&bytes[..16])
}

/// A layer on a namespace of its own, the handle it uses, and a look behind both.
pub(super) async fn stage(server: &Server) -> (SessionLayer, Redis, Keys) {
    let redis = server.redis().await;
    let keys = Keys::of(server, &redis).await;
    (SessionLayer::new(redis.clone()), redis, keys)
}
