//! The settings of a cache.

use std::{fmt, sync::Arc, time::Duration};

use http::request::Parts;

use crate::store::Remote;

/// What all requests of one layer share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) remote: Remote,
}

#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) ttl: Option<Duration>,
    pub(crate) max_body: usize,
    /// As it is written in `Cache-Status`; `None` leaves the field out.
    pub(crate) name: Option<String>,
    pub(crate) client_directives: bool,
    pub(crate) skip: Option<Arc<Predicate>>,
}

type Predicate = dyn Fn(&Parts) -> bool + Send + Sync;

impl Config {
    pub(crate) fn skips(&self, parts: &Parts) -> bool {
        self.skip.as_ref().is_some_and(|skip| skip(parts))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ttl: None,
            max_body: 256 * 1024,
            name: Some("tower-fred".to_owned()),
            client_directives: true,
            skip: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("ttl", &self.ttl)
            .field("max_body", &self.max_body)
            .field("name", &self.name)
            .field("client_directives", &self.client_directives)
            .field("skip", &self.skip.is_some())
            .finish()
    }
}
