//! Whether a response is personal: made for one client, and not to be shared by a cache.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use http::Extensions;

/// A mark in the extensions of a request. The session layer sets it when a handler uses the session. A rate limit sets it
/// when it refuses the request. The cache reads it.
///
/// `Vary: Cookie` would tell the same, but a session layer outside of the cache adds it after the cache has stored.
///
/// The mark is a counter, so that a cache can leave out the uses before it called its inner service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Personal {
    uses: Arc<AtomicU64>,
    /// How many uses are not counted here.
    before: u64,
    /// How many caches that leave out earlier uses the request passed.
    depth: u32,
}

impl Personal {
    /// The mark of a request. The first layer inserts it, and all layers share it.
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

    /// Sets the mark if an outer layer inserted one.
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

    /// The same mark, but not set until its next use.
    #[cfg(feature = "cache")]
    pub(crate) fn starting_now(mut self) -> Self {
        self.before = self.uses.load(Ordering::Relaxed);
        self
    }

    /// Called by a cache that leaves out earlier uses, when the request enters it.
    #[cfg(feature = "cache")]
    pub(crate) fn enter(extensions: &mut Extensions) {
        let mut mark = Self::of(extensions);
        mark.depth = mark.depth.saturating_add(1);
        extensions.insert(mark);
    }

    /// How many such caches the request passed, if the mark is set.
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
    fn earlier_uses_are_left_out() {
        let mut extensions = Extensions::new();
        let session = Personal::of(&mut extensions);
        assert_eq!(Personal::guarded(&extensions), None);
        let (default, inner) = (
            Personal::of(&mut extensions),
            session.clone().starting_now(),
        );
        session.set();
        assert!(default.is_set() && inner.is_set());
        let later = Personal::of(&mut extensions).starting_now();
        assert!(!later.is_set());
        assert_eq!(Personal::guarded(&extensions), Some(0));
        Personal::enter(&mut extensions);
        assert_eq!(Personal::guarded(&extensions), Some(1));
        session.set();
        assert!(later.is_set());
    }
}
