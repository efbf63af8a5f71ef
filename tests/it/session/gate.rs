//! A handler that stops at a gate, so that the test decides in which order requests run.

use std::sync::Arc;

use tokio::sync::Barrier;

/// Two meetings with a handler: when it has begun, and when it may go on.
#[derive(Clone)]
pub(super) struct Gate {
    begun: Arc<Barrier>,
    go_on: Arc<Barrier>,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            begun: Arc::new(Barrier::new(2)),
            go_on: Arc::new(Barrier::new(2)),
        }
    }

    pub(super) async fn pass(self) {
        self.begun.wait().await;
        self.go_on.wait().await;
    }

    /// Lets `work` happen while the handler stands between the meetings.
    pub(super) async fn meanwhile<T>(self, work: impl Future<Output = T>) -> T {
        self.begun.wait().await;
        let value = work.await;
        self.go_on.wait().await;
        value
    }
}
