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
    /// It is for a route that gives every client the same answer for the same URL, whatever cookies it sends. It covers
    /// the statuses 200, 203, 204, 301, 308, 404 and 410. It never overrides a response: `max-age`, `s-maxage` and
    /// `Expires` take precedence, and `no-store`, `private`, `no-cache`, `Set-Cookie`, `Vary: *` and a request with
    /// `Authorization` prevent storing. It is not sent to clients.
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
    /// It covers the statuses 404, 405, 410, 414 and 501. A short time is enough to protect the handler from many
    /// requests for a URL that does not exist.
    ///
    /// # Panics
    ///
    /// If it is shorter than a millisecond.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        assert!(ttl >= Duration::from_millis(1), "a ttl of at least 1 ms");
        self.policy().negative_ttl = Some(ttl);
        self
    }

    /// Also stores answers that state no lifetime but have `Last-Modified`: they are fresh for a tenth of the time
    /// since then, at most for `longest` (RFC 9111 §4.2.2); default: they are not stored.
    ///
    /// It covers the statuses that are cacheable by default (200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501),
    /// and any answer with `public`. It is for a proxy in front of servers that state no lifetime; a server should
    /// state one itself.
    pub fn heuristic(mut self, longest: Duration) -> Self {
        self.policy().heuristic = Some(longest);
        self
    }

    /// How long after its lifetime an answer may be used while it is refreshed in the background (RFC 5861 §3); default
    /// zero.
    ///
    /// An answer's own `stale-while-revalidate` overrides this. `must-revalidate`, `proxy-revalidate`, `s-maxage` and
    /// `no-cache` forbid it (RFC 9111 §4.2.4).
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.policy().stale_while_revalidate = Some(window);
        self
    }

    /// How long after its lifetime an answer may be used when the handler answers with 500, 502, 503 or 504 (RFC 5861
    /// §4); default zero.
    ///
    /// An answer's own `stale-if-error` overrides this, and the same directives forbid it. When the service returns an
    /// error in place of an answer, the stored one is used for as long as it is [kept](Self::keep).
    ///
    /// After such a failure one request at a time asks the handler for this answer, after a [pause](Self::error_pause).
    /// Meanwhile all other requests get the stored answer at once.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.policy().stale_if_error = Some(window);
        self
    }

    /// How long the cache uses a stored answer without asking the handler, after the handler failed to refresh it (see
    /// [`stale_if_error`](Self::stale_if_error)); default one second.
    ///
    /// With zero the next request asks it at once, still one at a time. Each process has its own pause; processes that
    /// share the Redis namespace ask in turn, up to a second apart.
    pub fn error_pause(mut self, pause: Duration) -> Self {
        self.config().error_pause = pause;
        self
    }

    /// How long after its lifetime an answer stays in Redis; default one hour if it has `ETag` or `Last-Modified`, else
    /// one minute.
    ///
    /// In this time the cache can validate it, or use it when the service returns an error.
    pub fn keep(mut self, time: Duration) -> Self {
        self.policy().keep = Some(time);
        self
    }

    /// The only statuses to store; default: all final ones except 206, 304, 412, 416, 428, 429, 431 and 511, which are
    /// never stored.
    ///
    /// [`ttl`](Self::ttl) then covers exactly these.
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

    /// Reads this field of an answer in place of `Cache-Control` and `Expires` (RFC 9213); default: only the cache's
    /// own.
    ///
    /// A cache with the [name](Self::name) `shop` always reads `Shop-Cache-Control` first, then the fields given here,
    /// in the order of the calls. A field that is not a valid dictionary is ignored. The fields stay in the answer, for
    /// caches further out.
    pub fn targeted(mut self, field: HeaderName) -> Self {
        let targets = &mut self.policy().targets;
        targets.retain(|other| *other != field);
        targets.push(field);
        self
    }

    /// Stores separate entries by a request field, whether or not answers name it in `Vary`.
    pub fn vary_by_header(mut self, name: HeaderName) -> Self {
        let config = self.config();
        config.vary_by.headers.push(name.clone());
        config.key_has(name);
        self
    }

    /// Stores separate entries by these query parameters only; default: by the whole query, byte for byte.
    ///
    /// For a route whose answers depend on no other parameter. The order of the parameters counts. A purge or an unsafe
    /// request for the path, without a query, then removes all of its entries.
    pub fn vary_by_query<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(Into::into);
        let all = self.config().vary_by.query.get_or_insert_default();
        all.extend(names);
        self
    }

    /// Stores separate entries by the value of one cookie. Answers with `Vary: Cookie` are then stored too: the server
    /// must make sure that they depend on no other cookie.
    pub fn vary_by_cookie(mut self, name: impl Into<String>) -> Self {
        let config = self.config();
        config.vary_by.cookies.push(name.into());
        config.key_has(header::COOKIE);
        self
    }

    /// Stores separate entries by what `value` returns for a request: a tenant, a negotiated language, a feature flag.
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

    /// Also stores answers to requests whose [session](crate::Session) was read outside of this layer; default: if the
    /// session was read anywhere, the answer is not stored. Set it only if answers depend on nothing else of the
    /// session than what [`vary_by_value`](Self::vary_by_value) and its siblings put into the key.
    ///
    /// It is for pages behind a login: a guard outside of this layer reads the session and refuses some requests. All
    /// requests that it admits may share an answer. If answers depend on a value of the session, such as the tenant or
    /// the role, the guard puts it into the request's extensions, and the layer puts it into the key:
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
    /// Two mistakes do no harm. If the session is used inside of this layer, also by a body that is still being sent,
    /// or outside of it while the answer is being made, the answer is not stored (`detail=session` in `Cache-Status`).
    /// And if the layer is outside of the guard, it never answers with what the guard would have refused: the guard's
    /// read is then inside, and layers behind a guard store under other keys.
    ///
    /// The layer does not see what the guard passes on in extensions or header fields: if a handler shows the user's
    /// name from there, its answers must not be cached, or the key must contain the name. The answer still depends on
    /// the session, so the session layer adds `Vary: Cookie` to it, also on a hit.
    pub fn behind_guard(mut self) -> Self {
        self.config().vary_by.behind_guard = true;
        self
    }

    /// The longest body to store, in bytes; default 256 KiB.
    ///
    /// A longer body is delivered but not stored. Each body that is being copied may take up to this much memory, and
    /// so may each client that reads more slowly than the handler writes. Up to 1,024 slow bodies at a time are read in
    /// the background; any others are read, and stored, at the pace of their clients. Far greater values delay other
    /// commands on the same connection to Redis.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.config().max_body = bytes;
        self
    }

    /// Also keeps entries that are read often in the memory of this process, up to `bytes`; default: none.
    ///
    /// Such a hit sends no command to Redis. A purge in any process takes effect in all of them within 50 ms;
    /// [`coherence`](crate::redis::RedisBuilder::coherence) changes that, and what it costs. While Redis cannot be asked
    /// for purges, these entries are not used (but see [`serve_for`](Self::serve_for)), and the handler answers.
    ///
    /// If another process replaces a response that is still fresh, this process uses the new one within a second: it
    /// compares an entry in use with Redis every 0.6 s in the background, by 11 bytes of it. If an entry was not used
    /// for 0.85 s, it is compared before its next use. If Redis does not answer, the entry stays in use.
    ///
    /// An entry of up to an eighth of `bytes`, and of at most 8 MiB, is kept. A larger one may be left out: it is then
    /// read from Redis each time, and one line in the log says so.
    ///
    /// # Panics
    ///
    /// If it is zero.
    pub fn near(self, bytes: usize) -> Self {
        assert!(bytes > 0, "a near tier needs memory");
        self.stored(|settings| settings.near = Some(bytes))
    }

    /// How long entries in the memory of this process are used while Redis cannot be asked about purges; default: not
    /// at all.
    ///
    /// With it there are hits during an outage. An entry that was purged meanwhile may be used for this time.
    pub fn serve_for(self, time: Duration) -> Self {
        self.stored(|settings| settings.serve_for = time)
    }

    /// How early a response is refreshed in the background before its lifetime ends, so that no request has to wait
    /// then; default 0, never.
    ///
    /// With 1, the usual choice, one of many requests starts the refresh about as long before the end as the handler
    /// takes (Vattani et al., "Optimal probabilistic cache stampede prevention", 2015). Greater values are earlier.
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

    /// How long a request waits for another process that asks its handler for the same, before it asks its own handler;
    /// twice as long for another request of this process; default 10 s.
    ///
    /// This holds while the other handler makes progress: its future is polled, or frames of its body come. After a
    /// second without progress, as when its process crashed or was stopped, or its client stopped reading, one waiting
    /// request asks in its place. The late answer is still used if it comes first. A request that has waited for two
    /// others does not wait for a third. See also [`Memo::wait`](crate::memo::Memo::wait).
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
    /// Further refreshes wait in the order in which they came, one for each entry. A refresh is skipped if its entry
    /// was replaced meanwhile. While more than 4,096 run and wait, new ones are dropped, with a warning at most once a
    /// second. Each may run for 60 s; its waiting time does not count.
    ///
    /// # Panics
    ///
    /// If it is zero.
    pub fn background_refreshes(self, at_once: usize) -> Self {
        assert!(at_once > 0, "one refresh at a time, or more");
        self.stored(|settings| settings.refreshes = at_once)
    }

    /// Makes an empty request body of the type that the wrapped service takes; default: known for `String`, and with
    /// the feature `axum` for `axum::body::Body`.
    ///
    /// When the cache validates a stored answer, the handler may reply with a 304 that is about another answer. The
    /// cache then asks again without conditions (RFC 9111 §4.3.4) and needs a second body. Without one it removes the
    /// stored answer, and answers this one request with it, or with 502 if it must not be used stale.
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

    /// Compresses bodies that are longer than `bytes` (LZ4) in Redis; default: none.
    ///
    /// A body that shrinks by less than an eighth is kept as it is. Each read from Redis decompresses it. Entries in
    /// this process are not compressed. Clients get what the handler sent, whatever its `Content-Encoding`.
    #[cfg(feature = "compression")]
    pub fn compress_above(mut self, bytes: usize) -> Self {
        self.config().compress_above = Some(bytes);
        self
    }

    /// This cache's name in the `Cache-Status` field and, before `-Cache-Control`, in the [field](Self::targeted) for
    /// this cache alone; default `tower-fred`.
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

    /// Sends no `Cache-Status` field. It tells a client whether others requested the same before; `Age` does too.
    pub fn no_cache_status(mut self) -> Self {
        self.config().status_field = false;
        self
    }

    /// Ignores what clients say in `Cache-Control` and `Pragma` about using stored responses.
    ///
    /// By default a client's `no-cache`, `max-age` and `min-fresh` can make the handler run, and `only-if-cached` can
    /// get 504 (RFC 9111 §5.2.1, which leaves this to the cache). `no-store` in a request always prevents storing.
    pub fn ignore_client_directives(mut self) -> Self {
        self.config().client_directives = false;
        self
    }

    /// Does not answer from the cache, and does not store, the `GET` and `HEAD` requests for which `predicate` is true.
    /// One with `only-if-cached` gets 504.
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

    /// A handle that removes responses from the cache.
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
