//! Whether an answer depends on who asks.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::Extensions;

/// A mark in a request's extensions that the session layer sets when a handler uses the session, and that the cache reads.
///
/// `Vary: Cookie` says the same, but a session layer around the cache adds it too late for the cache to see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Personal(Arc<AtomicBool>);

impl Personal {
    /// The mark of a request: one for all layers, whichever comes first.
    pub(crate) fn of(extensions: &mut Extensions) -> Self {
        if let Some(mark) = extensions.get::<Self>() {
            return mark.clone();
        }
        let mark = Self::default();
        extensions.insert(mark.clone());
        mark
    }

    #[cfg(feature = "session")]
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    #[cfg(feature = "cache")]
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
