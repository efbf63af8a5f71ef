//! The layer and its settings.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, Method, StatusCode, header, request::Parts};
use tower_layer::Layer;

use super::{
    rfc::structured_text::identifier,
    rules::config::{Config, Policy},
    service::Cache,
    state::{failures::Failures, fill_tasks::FillTasks, memory::Memory, shared::Shared},
};
use crate::{
    redis::Redis,
    store::{Purge, Settings, Store},
};

/// Answers requests with stored responses. See the [module](crate::cache) for what is stored and when it is used.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct CacheLayer {
    shared: Shared,
    settings: Settings,
    redis: Redis,
}

impl CacheLayer {
    /// A cache that stores what responses explicitly allow, in the namespace of `redis`.
    ///
    /// All layers with the same namespace share their entries.
    pub fn new(redis: Redis) -> Self {
        Self {
            shared: Shared {
                config: Arc::default(),
                store: Store::new(&redis, Settings::default()),
                memory: Memory::default(),
                failures: Failures::default(),
                fill_tasks: FillTasks::default(),
            },
            settings: Settings::default(),
            redis,
        }
    }

    /// The lifetime of responses that state none; default: they are not stored.
    ///
    /// It is for a route whose answers are the same for everybody who asks for the same URL, whatever cookies they send.
    /// It covers the statuses 200, 203, 204, 301, 308, 404 and 410, and it never overrules a response: `max-age`,
    /// `s-maxage` and `Expires` count for more, and `no-store`, `private`, `no-cache`, `Set-Cookie`, `Vary: *` and a request
    /// with `Authorization` prevent storing. Clients are not told of it.
    ///
    /// # Panics
    ///
    /// If it is shorter than a millisecond.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        assert!(ttl >= Duration::from_millis(1), "a ttl of at least 1 ms");
        self.policy().ttl = Some(ttl);
        self
    }

    /// The lifetime of error answers such as 404 that state none; default: as [`ttl`](Self::ttl) says.
    ///
    /// It covers the statuses 404, 405, 410, 414 and 501. A short time is enough to protect the handler from many requests for
    /// a URL that does not exist.
    ///
    /// # Panics
    ///
    /// If it is shorter than a millisecond.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        assert!(ttl >= Duration::from_millis(1), "a ttl of at least 1 ms");
        self.policy().negative_ttl = Some(ttl);
        self
    }

    /// Also stores answers that state no lifetime but have `Last-Modified`: they are fresh for a tenth of the time since then,
    /// at most for `longest` (RFC 9111 §4.2.2); default: they are not stored.
    ///
    /// It covers the statuses that are cacheable by default (200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501), and any
    /// answer with `public`. It is for a proxy in front of servers that state no lifetime; a server should state one itself.
    pub fn heuristic(mut self, longest: Duration) -> Self {
        self.policy().heuristic = Some(longest);
        self
    }

    /// How long after its lifetime an answer may be used while it is refreshed in the background (RFC 5861 §3); default zero.
    ///
    /// An answer's own `stale-while-revalidate` overrides this. `must-revalidate`, `proxy-revalidate`, `s-maxage` and
    /// `no-cache` forbid it (RFC 9111 §4.2.4).
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.policy().stale_while_revalidate = Some(window);
        self
    }

    /// How long after its lifetime an answer may be used when the handler answers with 500, 502, 503 or 504 (RFC 5861 §4);
    /// default zero.
    ///
    /// An answer's own `stale-if-error` overrides this, and the same directives forbid it. When the service returns an error
    /// in place of an answer, the stored one is used for as long as it is [kept](Self::keep).
    ///
    /// After such a failure the handler is asked for this answer by one request at a time, and not before a
    /// [pause](Self::error_pause). Meanwhile all other requests are answered at once with what is stored.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.policy().stale_if_error = Some(window);
        self
    }

    /// How long the handler is not asked after it failed to refresh an answer, while the stored one is used (see
    /// [`stale_if_error`](Self::stale_if_error)); default one second.
    ///
    /// With zero it is asked again at once, still by one request at a time. Each process counts its own pause; processes
    /// that share the Redis namespace take turns in asking, up to a second apart.
    pub fn error_pause(mut self, pause: Duration) -> Self {
        self.config().error_pause = pause;
        self
    }

    /// How long after its lifetime an answer stays in Redis; default one hour if it has `ETag` or `Last-Modified`, else one
    /// minute.
    ///
    /// In this time it is used to validate it with the handler, or when the handler cannot be reached.
    pub fn keep(mut self, time: Duration) -> Self {
        self.policy().keep = Some(time);
        self
    }

    /// The only statuses to store; default: all that are final but 206, 304, 412, 416, 428, 429, 431 and 511,
    /// which are never stored.
    ///
    /// The layer's [`ttl`](Self::ttl) covers exactly these then.
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.policy().statuses = Some(statuses.into_iter().collect());
        self
    }

    /// The only methods to answer from the cache; default `GET` and `HEAD`.
    ///
    /// # Panics
    ///
    /// If one is neither of these: answers to other methods are never stored.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        let methods: Vec<Method> = methods.into_iter().collect();
        let known = |method: &Method| matches!(*method, Method::GET | Method::HEAD);
        assert!(methods.iter().all(known), "GET and HEAD only");
        self.config().methods = Some(methods);
        self
    }

    /// Reads this field of an answer in place of `Cache-Control` and `Expires` (RFC 9213); default: only the cache's own.
    ///
    /// A cache that is [called](Self::name) `shop` always reads `Shop-Cache-Control` first, then the fields that are given
    /// here in the order of the calls. One that is not a valid dictionary counts for nothing. They stay in the answer, for
    /// caches further out.
    pub fn targeted(mut self, field: HeaderName) -> Self {
        let targets = &mut self.policy().targets;
        targets.retain(|other| *other != field);
        targets.push(field);
        self
    }

    /// Keeps entries apart by a request field, whether or not answers have it in `Vary`.
    pub fn vary_by_header(mut self, name: HeaderName) -> Self {
        let config = self.config();
        config.vary_by.headers.push(name.clone());
        config.key_has(name);
        self
    }

    /// Keeps entries apart by these query parameters only; default: by the whole query, byte for byte.
    ///
    /// For a route whose answers depend on nothing else of the query. The order of the parameters counts. A purge or an
    /// unsafe request for the path, without a query, then takes out all of its entries.
    pub fn vary_by_query<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(Into::into);
        let all = self.config().vary_by.query.get_or_insert_default();
        all.extend(names);
        self
    }

    /// Keeps entries apart by the value of one cookie. Answers with `Vary: Cookie` are then stored too: it is for the server
    /// to know that they depend on no other cookie.
    pub fn vary_by_cookie(mut self, name: impl Into<String>) -> Self {
        let config = self.config();
        config.vary_by.cookies.push(name.into());
        config.key_has(header::COOKIE);
        self
    }

    /// Keeps entries apart by what `value` makes of a request: a tenant, a language that was negotiated, a feature flag.
    ///
    /// ```no_run
    /// # fn example(redis: tower_fred::Redis) {
    /// use tower_fred::CacheLayer;
    ///
    /// let layer = CacheLayer::new(redis).vary_by_value(|parts| {
    ///     let agent = parts.headers.get("user-agent");
    ///     agent.is_some_and(|agent| agent.as_bytes().starts_with(b"curl")).to_string()
    /// });
    /// # }
    /// ```
    pub fn vary_by_value<V: Into<Vec<u8>>>(
        mut self,
        value: impl Fn(&Parts) -> V + Send + Sync + 'static,
    ) -> Self {
        let value = Arc::new(move |parts: &Parts| value(parts).into());
        self.config().vary_by.values.push(value);
        self
    }

    /// States that answers depend on nothing that was read of the [session](crate::Session) outside of this layer, but for
    /// what [`vary_by_value`](Self::vary_by_value) and its siblings put into the key; default: an answer to a request whose
    /// session was read, wherever that was, is not stored.
    ///
    /// It is for pages behind a login: a guard outside of this layer reads the session and refuses strangers, and what it
    /// admits may be shared by all whom it admits. What of the session the answers depend on, such as the tenant or the
    /// role, the guard puts into the request's extensions, and the key has it:
    ///
    /// ```no_run
    /// use axum::{Router, extract::Request, middleware::{Next, from_fn}, response::Response, routing::get};
    /// use http::StatusCode;
    /// use tower_fred::{CacheLayer, Redis, Session, SessionLayer};
    ///
    /// #[derive(Clone)]
    /// struct Role(String);
    ///
    /// async fn guard(mut request: Request, next: Next) -> Result<Response, StatusCode> {
    ///     let session = request.extensions().get::<Session>().cloned();
    ///     let session = session.ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    ///     let role: Option<String> = session.get("role").await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    ///     request.extensions_mut().insert(Role(role.ok_or(StatusCode::UNAUTHORIZED)?));
    ///     Ok(next.run(request).await)
    /// }
    ///
    /// # fn example(redis: Redis) -> Router {
    /// let cache = CacheLayer::new(redis.clone()).behind_guard().vary_by_value(|parts| {
    ///     let role = parts.extensions.get::<Role>();
    ///     role.map(|role| role.0.clone()).unwrap_or_default()
    /// });
    /// // The last layer is the outermost: the session, then the guard, then the cache.
    /// Router::new()
    ///     .route("/reports", get(async || ([("cache-control", "max-age=60")], "…")))
    ///     .layer(cache)
    ///     .layer(from_fn(guard))
    ///     .layer(SessionLayer::new(redis))
    /// # }
    /// ```
    ///
    /// Two mistakes do no harm. A use of the session inside of this layer, also by a body that is still being sent, prevents
    /// storing as ever (`detail=session` in `Cache-Status`); so does a use outside of it while the answer is being made.
    /// And a layer that stands outside of the guard never answers with what the guard would have refused: there the guard's
    /// read is one inside, and what a layer behind the guard has stored is filed under another key.
    ///
    /// What the guard itself hands on, in extensions or header fields, is not seen: a handler that shows the user's name
    /// from there must not be cached, or the name must be in the key. The answer as a whole still depends on the session,
    /// so that the session layer adds `Vary: Cookie` to it, also on a hit.
    pub fn behind_guard(mut self) -> Self {
        self.config().vary_by.behind_guard = true;
        self
    }

    /// The longest body to store, in bytes; default 256 KiB.
    ///
    /// A response with a longer body is delivered just the same. Each one that is being copied may hold so much memory, and
    /// so may each client that reads slower than the handler writes. Up to 1,024 bodies that come in slowly are read in the
    /// background at a time; the others are read, and stored, at the pace of their clients. Far greater values hold up other
    /// commands on the same connection to Redis.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.config().max_body = bytes;
        self
    }

    /// Also keeps entries that are read often in the memory of this process, up to `bytes`; default: none.
    ///
    /// Such a hit sends no command to Redis. What is purged in any process is out of use in all of them a moment later; while
    /// Redis cannot be asked for purges, nothing from here is used (but see [`serve_for`](Self::serve_for)), and the handler
    /// answers.
    ///
    /// A response that another process has put in the place of one that was still fresh is used here within a second: one
    /// that is in use is compared with Redis every 0.6 s in the background, by 11 bytes of it, and one that was not used
    /// for 0.85 s before it is used again. Responses of which the server gives no answer stay in use.
    ///
    /// An entry of up to an eighth of `bytes`, and of at most 8 MiB, is kept. A larger one may be left out, whereof one line
    /// in the log tells; it is read from Redis each time.
    ///
    /// # Panics
    ///
    /// If it is zero.
    pub fn near(self, bytes: usize) -> Self {
        assert!(bytes > 0, "a near tier needs memory");
        self.stored(|settings| settings.near = Some(bytes))
    }

    /// How long entries in the memory of this process are used while Redis cannot be asked about purges; default: not at all.
    ///
    /// With it there are hits during an outage. An entry that was purged meanwhile may be served for as long.
    pub fn serve_for(self, time: Duration) -> Self {
        self.stored(|settings| settings.serve_for = time)
    }

    /// How eager to have a response made anew before its end, in the background, so that nobody has to wait for it then;
    /// default 0, never.
    ///
    /// With 1, the usual choice, one of many requests does so at about the time that the handler takes before the end
    /// (Vattani et al., "Optimal probabilistic cache stampede prevention", 2015); greater values are earlier.
    ///
    /// # Panics
    ///
    /// If it is negative or not finite.
    pub fn early_refresh(self, eagerness: f64) -> Self {
        assert!(
            eagerness >= 0.0 && eagerness.is_finite(),
            "an eagerness of zero or more"
        );
        self.stored(|settings| settings.eagerness = eagerness)
    }

    /// How long to wait for another process that asks its handler for the same, before asking one's own, and twice as long
    /// for another request of this process; default 10 s.
    ///
    /// That is for a handler that makes progress: its future is polled, or frames of its body come. After a second without
    /// that, as when its process has crashed or was stopped, or its client stopped reading, one of the others asks in its
    /// place. What the late one says is still used when it comes first. Who has waited for two such requests waits for no
    /// third one. See also [`Memo::wait`](crate::memo::Memo::wait).
    ///
    /// # Panics
    ///
    /// If it is shorter than a millisecond or longer than an hour.
    pub fn wait(self, time: Duration) -> Self {
        assert!(
            (Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&time),
            "between 1 ms and 1 hour to wait"
        );
        self.stored(|settings| settings.wait = time)
    }

    /// How many stale answers this process refreshes in the background at the same time; default 64.
    ///
    /// Others wait for their turn, one for each entry, in the order in which they came. One whose entry was made anew
    /// meanwhile is skipped. While more than 4,096 run and wait, new ones are left out, which a warning tells at most
    /// once a second. Each may take 60 s, not counting the time that it waits.
    ///
    /// # Panics
    ///
    /// If it is zero.
    pub fn background_refreshes(self, at_once: usize) -> Self {
        assert!(at_once > 0, "one refresh at a time, or more");
        self.stored(|settings| settings.refreshes = at_once)
    }

    /// How to make a request body without content, of the type that the wrapped service takes; default: known for `String`,
    /// and with the feature `axum` for `axum::body::Body`.
    ///
    /// The handler may answer the question whether a stored answer still holds with a 304 that is about another one. It is
    /// then asked again without conditions (RFC 9111 §4.3.4), which takes a second body. Without one the stored answer is
    /// taken out, and this one request is answered with it, or with 502 if it must not be used stale.
    ///
    /// ```no_run
    /// use bytes::Bytes;
    /// use http_body_util::Full;
    /// use tower_fred::{CacheLayer, Redis};
    ///
    /// # fn example(redis: Redis) {
    /// let layer = CacheLayer::new(redis).empty_body(Full::<Bytes>::default);
    /// # }
    /// ```
    pub fn empty_body<B: 'static>(mut self, make: fn() -> B) -> Self {
        self.config().empty_body = Some(Arc::new(make));
        self
    }

    /// Keeps bodies that are longer than so many bytes compressed (LZ4) in Redis; default: none.
    ///
    /// What does not get smaller by an eighth is kept as it is. Each read from Redis unpacks it; what is kept in this
    /// process is not compressed. Clients get what the handler sent, whatever its `Content-Encoding`.
    #[cfg(feature = "compression")]
    pub fn compress_above(mut self, bytes: usize) -> Self {
        self.config().compress_above = Some(bytes);
        self
    }

    /// This cache's name in the `Cache-Status` field, and before `-Cache-Control` in the [field](Self::targeted) that is for
    /// it alone; default `tower-fred`.
    ///
    /// # Panics
    ///
    /// If it is empty or has characters that are not printable ASCII.
    pub fn name(mut self, name: impl AsRef<str>) -> Self {
        let name = identifier(name.as_ref());
        assert!(name.is_some(), "a name of printable ASCII characters");
        self.config().named(name.unwrap_or_default());
        self
    }

    /// Sends no `Cache-Status` field. The field tells a client whether others asked for the same before; `Age` does too.
    pub fn no_cache_status(mut self) -> Self {
        self.config().status_field = false;
        self
    }

    /// Ignores what clients say in `Cache-Control` and `Pragma` about using stored responses.
    ///
    /// By default `no-cache`, `max-age` and `min-fresh` can make the handler run, and `only-if-cached` gets 504 in place of
    /// it (RFC 9111 §5.2.1, which leaves this to the cache). `no-store` in a request always prevents storing.
    pub fn ignore_client_directives(mut self) -> Self {
        self.config().client_directives = false;
        self
    }

    /// Leaves alone the `GET` and `HEAD` requests for which `predicate` is true: neither answered from the cache nor stored. A
    /// client that asks for `only-if-cached` gets 504.
    ///
    /// ```no_run
    /// # fn example(redis: tower_fred::Redis) {
    /// use tower_fred::CacheLayer;
    ///
    /// let layer = CacheLayer::new(redis).bypass_when(|parts| parts.uri.path().starts_with("/admin"));
    /// # }
    /// ```
    pub fn bypass_when(
        mut self,
        predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.config().bypass = Some(Arc::new(predicate));
        self
    }

    /// A handle that takes responses out of the cache.
    pub fn purge(&self) -> Purge {
        Purge::new(self.redis.clone())
    }

    /// Changes the settings of the store.
    fn stored(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self.shared.store = Store::new(&self.redis, self.settings.clone());
        self
    }

    fn policy(&mut self) -> &mut Policy {
        &mut self.config().policy
    }

    fn config(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.shared.config)
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = Cache<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Cache::new(inner, self.shared.clone())
    }
}

const _: () = {
    const fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<CacheLayer>();
    shared::<Cache<()>>();
};
