//! Whether an answer depends on who asks.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use http::Extensions;

/// A mark in a request's extensions. The session layer sets it when a handler uses the session, a rate limit sets it when
/// it refuses the request itself, and the cache reads it.
///
/// `Vary: Cookie` says the same, but a session layer around the cache adds it too late for the cache to see.
///
/// The mark counts, so that a cache can tell what happened before it called its inner service from what happened after.
#[derive(Clone, Debug, Default)]
pub(crate) struct Personal {
    uses: Arc<AtomicU64>,
    /// How many uses this value leaves out.
    before: u64,
    /// How many caches that leave out earlier uses the request went through.
    depth: u32,
}

impl Personal {
    /// The mark of a request: one for all layers, whichever comes first.
    #[cfg(any(feature = "cache", feature = "session"))]
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
        self.uses.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the mark if a layer further out reads it.
    #[cfg(feature = "rate-limit")]
    pub(crate) fn set_in(extensions: &Extensions) {
        if let Some(mark) = extensions.get::<Self>() {
            mark.uses.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cfg(feature = "cache")]
    pub(crate) fn is_set(&self) -> bool {
        self.uses.load(Ordering::Relaxed) > self.before
    }

    /// The same mark, which counts as not set until its next use.
    #[cfg(feature = "cache")]
    pub(crate) fn from_now(mut self) -> Self {
        self.before = self.uses.load(Ordering::Relaxed);
        self
    }

    /// Notes that the request goes on into a cache that leaves out earlier uses.
    #[cfg(feature = "cache")]
    pub(crate) fn enter(extensions: &mut Extensions) {
        let mut mark = Self::of(extensions);
        mark.depth = mark.depth.saturating_add(1);
        extensions.insert(mark);
    }

    /// How many such caches it went through, if the mark is set.
    #[cfg(feature = "cache")]
    pub(crate) fn guarded(extensions: &Extensions) -> Option<u32> {
        let mark = extensions.get::<Self>()?;
        mark.is_set().then_some(mark.depth)
    }
}

#[cfg(all(test, feature = "cache", feature = "session"))]
mod tests {
    use super::*;

    #[test]
    fn uses_before_and_after_are_told_apart() {
        let mut extensions = Extensions::new();
        let session = Personal::of(&mut extensions);
        assert_eq!(Personal::guarded(&extensions), None);
        let (default, inner) = (Personal::of(&mut extensions), session.clone().from_now());
        session.set();
        assert!(default.is_set() && inner.is_set());
        let later = Personal::of(&mut extensions).from_now();
        assert!(!later.is_set());
        assert_eq!(Personal::guarded(&extensions), Some(0));
        Personal::enter(&mut extensions);
        assert_eq!(Personal::guarded(&extensions), Some(1));
        session.set();
        assert!(later.is_set());
    }
}
