//! Values that the slices keep with a handle, shared by all its clones.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// One value of each type, kept as long as it is in use.
#[derive(Default)]
pub(crate) struct SharedValues(Mutex<HashMap<TypeId, Weak<dyn Any + Send + Sync>>>);

impl SharedValues {
    /// The value of type `T`; `make` makes it if it is not in use yet.
    pub(crate) fn get_or_make<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = values.get(&TypeId::of::<T>()).and_then(Weak::upgrade);
        if let Some(held) = held.and_then(|held| held.downcast().ok()) {
            return held;
        }
        let made = Arc::new(make());
        let held: Arc<dyn Any + Send + Sync> = Arc::clone(&made) as _;
        values.insert(TypeId::of::<T>(), Arc::downgrade(&held));
        made
    }
}

impl fmt::Debug for SharedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedValues").finish_non_exhaustive()
    }
}
