//! The settings of a cache.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use http::{HeaderName, Method, StatusCode, request::Parts};

use super::vary_by::VaryBy;

#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) policy: Policy,
    pub(crate) vary_by: VaryBy,
    pub(crate) methods: Option<Vec<Method>>,
    pub(crate) max_body: usize,
    /// How long the handler is not asked after it failed to refresh an answer that can be used in place of the error.
    pub(crate) error_pause: Duration,
    pub(crate) compress_above: Option<usize>,
    /// A `fn() -> B` for one type of request bodies.
    pub(crate) empty_body: Option<Arc<dyn Any + Send + Sync>>,
    /// The cache's name, as a structured field.
    pub(crate) name: String,
    /// Whether `Cache-Status` is written.
    pub(crate) status_field: bool,
    pub(crate) client_directives: bool,
    pub(crate) bypass: Option<Arc<Predicate>>,
}

type Predicate = dyn Fn(&Parts) -> bool + Send + Sync;

/// The settings that decide which answers are stored, and for how long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) ttl: Option<Duration>,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) heuristic: Option<Duration>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) keep: Option<Duration>,
    pub(crate) statuses: Option<Vec<StatusCode>>,
    /// The targeted fields (RFC 9213), the most specific first.
    pub(crate) targets: Vec<HeaderName>,
    /// Request fields that the key has already: `Vary` may name them.
    pub(crate) keyed: Vec<HeaderName>,
}

impl Policy {
    /// The layer's lifetime for an answer that states none.
    pub(crate) fn ttl(&self, status: StatusCode) -> Option<Duration> {
        let negative = matches!(status.as_u16(), 404 | 405 | 410 | 414 | 501);
        let usual = matches!(status.as_u16(), 200 | 203 | 204 | 301 | 308 | 404 | 410);
        let covered = usual || self.statuses.is_some();
        self.negative_ttl
            .filter(|_| negative)
            .or(self.ttl.filter(|_| covered))
    }

    pub(crate) fn stores(&self, status: StatusCode) -> bool {
        self.statuses
            .as_ref()
            .is_none_or(|statuses| statuses.contains(&status))
    }

    /// How long after its lifetime an answer stays in Redis.
    pub(crate) fn keep(&self, has_validator: bool) -> Duration {
        let usual = if has_validator {
            KEEP_VALIDATED
        } else {
            KEEP_OTHERS
        };
        self.keep.unwrap_or(usual)
    }

    /// Whether the key has this request field.
    pub(crate) fn covers(&self, name: &HeaderName) -> bool {
        self.keyed.contains(name)
    }
}

impl Config {
    pub(crate) fn bypasses(&self, parts: &Parts) -> bool {
        self.bypass.as_ref().is_some_and(|bypass| bypass(parts))
    }

    pub(crate) fn reads(&self, method: &Method) -> bool {
        match &self.methods {
            None => matches!(*method, Method::GET | Method::HEAD),
            Some(methods) => methods.contains(method),
        }
    }

    /// Notes that the key has this field.
    pub(crate) fn key_has(&mut self, name: HeaderName) {
        if !self.policy.keyed.contains(&name) {
            self.policy.keyed.push(name);
        }
    }

    /// Sets the name, and the targeted field of this cache alone: `Shop-Cache-Control` for the name `shop` (RFC 9213 §2).
    pub(crate) fn named(&mut self, name: String) {
        let field = |name: &str| {
            let text = format!("{name}-cache-control");
            HeaderName::from_bytes(text.as_bytes()).ok()
        };
        let old = field(&self.name);
        let targets = &mut self.policy.targets;
        targets.retain(|target| Some(target) != old.as_ref());
        targets.splice(..0, field(&name));
        self.name = name;
    }
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Self {
            policy: Policy::default(),
            vary_by: VaryBy::default(),
            methods: None,
            max_body: 256 * 1024,
            error_pause: Duration::from_secs(1),
            compress_above: None,
            empty_body: None,
            name: String::new(),
            status_field: true,
            client_directives: true,
            bypass: None,
        };
        config.named("tower-fred".to_owned());
        config
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("policy", &self.policy)
            .field("vary_by", &self.vary_by)
            .field("methods", &self.methods)
            .field("max_body", &self.max_body)
            .field("error_pause", &self.error_pause)
            .field("compress_above", &self.compress_above)
            .field("empty_body", &self.empty_body.is_some())
            .field("name", &self.name)
            .field("status_field", &self.status_field)
            .field("client_directives", &self.client_directives)
            .field("bypass", &self.bypass.is_some())
            .finish()
    }
}

const KEEP_VALIDATED: Duration = Duration::from_secs(60 * 60);
const KEEP_OTHERS: Duration = Duration::from_secs(60);
