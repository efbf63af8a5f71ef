//! The limit on the tasks that read bodies into the cache.

use std::{fmt, sync::Arc};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Counts the tasks of one layer that read bodies.
#[derive(Clone)]
pub(crate) struct FillTasks(Arc<Semaphore>);

impl FillTasks {
    /// A permit for one more task; `None` if too many run, or there is no runtime.
    pub(crate) fn room(&self) -> Option<(Handle, OwnedSemaphorePermit)> {
        let runtime = Handle::try_current().ok()?;
        let permit = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some((runtime, permit))
    }
}

impl Default for FillTasks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_FILLS)))
    }
}

impl fmt::Debug for FillTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FillTasks")
            .field("room", &self.0.available_permits())
            .finish()
    }
}

/// The most tasks of one layer at the same time.
const MOST_FILLS: usize = 1024;
