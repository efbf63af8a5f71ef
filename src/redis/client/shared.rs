//! What all clones of a handle have in common beyond the handle.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::client::Redis;

/// One value of each type, for as long as somebody holds it.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<HashMap<TypeId, Weak<dyn Any + Send + Sync>>>);

impl Redis {
    /// The value of type `T` that belongs to this handle and all its clones; made if nobody holds one.
    pub(crate) fn shared<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut shelf = self
            .inner
            .shelf
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let held = shelf.get(&TypeId::of::<T>()).and_then(Weak::upgrade);
        if let Some(held) = held.and_then(|held| held.downcast().ok()) {
            return held;
        }
        let made = Arc::new(make());
        let held: Arc<dyn Any + Send + Sync> = Arc::clone(&made) as _;
        shelf.insert(TypeId::of::<T>(), Arc::downgrade(&held));
        made
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}
