//! The layer and its settings.

use std::{sync::Arc, time::Duration};

use http::request::Parts;
use tower_layer::Layer;

use super::{
    config::{Config, Shared},
    service::Cache,
    status::identifier,
};
use crate::{
    redis::Redis,
    store::{Purge, Remote},
};

/// Answers requests with stored responses. See the [module](crate::cache) for what is stored and when it is used.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct CacheLayer {
    shared: Shared,
    purge: Purge,
}

impl CacheLayer {
    /// A cache that stores what responses explicitly allow, in the namespace of `redis`.
    ///
    /// All layers with the same namespace share their entries.
    pub fn new(redis: Redis) -> Self {
        Self {
            shared: Shared {
                config: Arc::default(),
                remote: Remote::new(redis.clone()),
            },
            purge: Purge::new(redis),
        }
    }

    /// How long to keep responses that say nothing about it; default: they are not stored.
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
        self.config().ttl = Some(ttl);
        self
    }

    /// The longest body to store, in bytes; default 256 KiB.
    ///
    /// A response with a longer body is delivered just the same. Each one that is being copied may hold so much memory. Far
    /// greater values hold up other commands on the same connection to Redis.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.config().max_body = bytes;
        self
    }

    /// This cache's name in the `Cache-Status` field; default `tower-fred`.
    ///
    /// # Panics
    ///
    /// If it is empty or has characters that are not printable ASCII.
    pub fn name(mut self, name: impl AsRef<str>) -> Self {
        let name = identifier(name.as_ref());
        assert!(name.is_some(), "a name of printable ASCII characters");
        self.config().name = name;
        self
    }

    /// Sends no `Cache-Status` field. It tells clients whether somebody asked for the same before them, and so does `Age`.
    pub fn no_cache_status(mut self) -> Self {
        self.config().name = None;
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

    /// Leaves alone the `GET` and `HEAD` requests for which `predicate` is true: neither answered from the cache nor stored.
    ///
    /// ```no_run
    /// # fn example(redis: tower_fred::Redis) {
    /// use tower_fred::CacheLayer;
    ///
    /// let layer = CacheLayer::new(redis).skip_when(|parts| parts.uri.path().starts_with("/admin"));
    /// # }
    /// ```
    pub fn skip_when(mut self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.config().skip = Some(Arc::new(predicate));
        self
    }

    /// A handle that takes responses out of the cache.
    pub fn purge(&self) -> Purge {
        self.purge.clone()
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
