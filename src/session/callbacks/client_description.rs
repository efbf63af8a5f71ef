//! The application's function that names the client of a request.

use std::{fmt, sync::Arc};

use http::request::Parts;

/// The application's function that names the client of a request.
#[derive(Clone)]
pub(crate) struct ClientDescription(Arc<dyn Fn(&Parts) -> String + Send + Sync>);

impl ClientDescription {
    pub(crate) fn new(describe: impl Fn(&Parts) -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(describe))
    }

    pub(crate) fn call(&self, parts: &Parts) -> String {
        (self.0)(parts)
    }
}

impl PartialEq for ClientDescription {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for ClientDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientDescription(..)")
    }
}
